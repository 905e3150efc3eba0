"""Labels as NIfTI: where the image lies, they lie."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from morula.data.nifti import read_nifti, write_nifti_labels

AFFINE = np.array([[-1.5, 0.1, 0, 20], [0.05, 1.5, 0, -30], [0, 0, 4, 7], [0, 0, 0, 1]], float)


@pytest.mark.parametrize("name", ["image.nii.gz", "image.nii"])
@pytest.mark.parametrize(("highest", "dtype"), [(4, np.uint8), (300, np.uint16), (70_000, np.int32)])
def test_labels_lie_where_the_image_lies(tmp_path: Path, name: str, highest: int, dtype: type) -> None:
    image = nibabel.Nifti1Image(np.zeros((7, 6, 5), np.float32), AFFINE)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(2, -1024)
    image.set_sform(AFFINE, 2)
    nibabel.save(image, tmp_path / name)
    labels = np.zeros((5, 6, 7), np.int32)
    labels[1, 2, 3] = highest
    out = tmp_path / "labels" / "a.nii.gz"
    write_nifti_labels(out, labels, tmp_path / name)
    written = nibabel.load(out)
    np.testing.assert_array_equal(written.affine, nibabel.load(tmp_path / name).affine)
    assert written.get_data_dtype() == dtype
    assert written.header["sform_code"] == 2
    assert written.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(np.asanyarray(written.dataobj).T, labels)
    np.testing.assert_array_equal(read_nifti(out).pixels, labels)
