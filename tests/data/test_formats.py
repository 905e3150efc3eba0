"""Every format in and out."""

import gzip
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage import io

from morula.data.formats import read_image, read_labels, stem_of, write_labels
from morula.data.problems import BadFileError
from morula.errors import InputError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (24, 31), dtype=np.uint8)
COLOUR = RNG.integers(0, 255, (24, 31, 3), dtype=np.uint8)
STACK = RNG.integers(0, 60000, (5, 24, 31), dtype=np.uint16)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_reads_what_scikit_image_wrote(suffix: str, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    io.imsave(path, pixels, check_contrast=False)
    image = read_image(path)
    expected = pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.channels == (("grey",) if pixels.ndim == 2 else ("red", "green", "blue"))
    assert image.spacing_um is None


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_reads_jpeg_as_scikit_image_does(pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    io.imsave(path, pixels, check_contrast=False)
    read = read_image(path).pixels.astype(int)
    expected = np.atleast_3d(io.imread(path)).transpose(2, 0, 1)
    assert np.abs(read - expected).max() <= 4  # another inverse cosine transform


def test_reads_16_bit_png(tmp_path: Path) -> None:
    for index, pixels in enumerate((STACK[0], STACK[:3].transpose(1, 2, 0))):
        path = tmp_path / f"{index}.png"
        path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))
        image = read_image(path)
        assert image.pixels.dtype == np.uint16
        np.testing.assert_array_equal(image.pixels, np.atleast_3d(pixels).transpose(2, 0, 1))


def test_content_counts_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    tifffile.imwrite(path, GREY)
    np.testing.assert_array_equal(read_image(path).pixels[0], GREY)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64, bool])
@pytest.mark.parametrize("compression", [None, "zlib", "zstd", "lzw"])
def test_reads_tiff_of_any_number_type(dtype: type, compression: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = (STACK[0] > 30000) if dtype is bool else STACK[0].astype(dtype)
    tifffile.imwrite(path, pixels, compression=compression if dtype is not bool else None)
    np.testing.assert_array_equal(read_image(path).pixels[0], pixels)


def test_reads_axes_and_pixel_size_of_ome_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    metadata = {
        "axes": "ZCYX",
        "PhysicalSizeX": 250.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.25,
        "PhysicalSizeZ": 2.0,
        "Channel": {"Name": ["DAPI", "actin"]},
    }
    pixels = RNG.integers(0, 99, (5, 2, 24, 31), dtype=np.uint16)
    tifffile.imwrite(path, pixels, metadata=metadata, photometric="minisblack")
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, pixels.transpose(1, 0, 2, 3))
    assert image.channels == ("DAPI", "actin")
    assert image.spacing_um == pytest.approx((2.0, 0.25, 0.25))


def test_reads_axes_and_pixel_size_of_imagej(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    metadata = {"axes": "ZYX", "spacing": 1.5, "unit": "um"}
    tifffile.imwrite(path, STACK, imagej=True, resolution=(4, 2), metadata=metadata)
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels[0], STACK)
    assert image.spacing_um == pytest.approx((1.5, 0.5, 0.25))


def test_the_resolution_of_a_printer_is_no_pixel_size(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, resolution=(300, 300), resolutionunit="INCH", metadata=None)
    assert read_image(path).spacing_um is None


def test_pages_without_axes_are_refused_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", metadata=None)
    with pytest.raises(InputError, match=r"shape \(5, 24, 31\).*--axes.*ZYX or CYX"):
        read_image(path)
    assert read_image(path, axes="ZYX").ndim == 3
    assert len(read_image(path, axes="cyx").channels) == 5


def test_thumbnails_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY, metadata=None)
        writer.write(GREY[:6, :7], metadata=None)
    np.testing.assert_array_equal(read_image(path).pixels[0], GREY)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_reads_nifti_as_nibabel_does(suffix: str, kind: type, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    volume = kind(STACK.T, np.diag([0.7, 0.7, 7.7, 1.0]))
    volume.header.set_xyzt_units("mm")
    nibabel.save(volume, path)
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels[0], STACK)
    assert image.pixels.dtype == np.uint16
    assert image.spacing_um == (7700.0, 700.0, 700.0)


def test_reads_nifti_with_a_scale_and_several_gzip_members(tmp_path: Path) -> None:
    plain = tmp_path / "a.nii"
    volume = nibabel.Nifti1Image(STACK.T, np.eye(4))
    volume.header.set_slope_inter(0.5, 10)
    nibabel.save(volume, plain)
    content = plain.read_bytes()
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]))
    expected = np.asarray(nibabel.load(plain).dataobj).T
    for path in (plain, packed):
        np.testing.assert_array_equal(read_image(path).pixels[0], expected)


def test_reads_numpy_with_axes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", COLOUR)
    np.savez_compressed(tmp_path / "b.npz", image=GREY)
    np.savez(tmp_path / "c.npz", image=GREY, labels=GREY)
    assert read_image(tmp_path / "a.npy", axes="YXS").channels == ("red", "green", "blue")
    np.testing.assert_array_equal(read_image(tmp_path / "b.npz").pixels[0], GREY)
    with pytest.raises(InputError, match="--axes"):
        read_image(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"2 arrays \(image, labels\)"):
        read_image(tmp_path / "c.npz")


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"masks": GREY}], object))
    with pytest.raises(InputError, match=r"a\.npy"):
        read_image(tmp_path / "a.npy")


def write_ome_zarr(path: Path, pixels: np.ndarray, version: int, axes: str = "czyx") -> None:
    units = {letter: {"unit": "micrometer"} for letter in "zyx"}
    described = [
        {"name": letter, "type": "channel" if letter == "c" else "space", **units.get(letter, {})}
        for letter in axes
    ]
    scale = {"c": 1.0, "z": 2.0, "y": 0.5, "x": 0.25}
    levels = [
        {
            "path": str(level),
            "coordinateTransformations": [{"type": "scale", "scale": [scale[letter] for letter in axes]}],
        }
        for level in range(2)
    ]
    image = {
        "multiscales": [{"version": "0.4" if version == 2 else "0.5", "axes": described, "datasets": levels}],
        "omero": {"channels": [{"label": "DAPI"}, {"label": "actin"}]},
    }
    group = zarr.open_group(path, mode="w", zarr_format=version)
    group.attrs.update(image if version == 2 else {"ome": {"version": "0.5", **image}})
    for level, array in enumerate((pixels, pixels[..., ::2, ::2])):
        group.create_array(
            str(level), data=np.ascontiguousarray(array), chunks=(1,) * (array.ndim - 2) + (8, 8)
        )


@pytest.mark.parametrize("version", [2, 3])
def test_reads_ome_zarr(version: int, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 99, (2, 5, 24, 31), dtype=np.uint16)
    write_ome_zarr(tmp_path / "a.ome.zarr", pixels, version)
    image = read_image(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.channels == ("DAPI", "actin")
    assert image.spacing_um == (2.0, 0.5, 0.25)
    with pytest.raises(InputError, match="labels with 2 channels"):
        read_labels(tmp_path / "a.ome.zarr")


@pytest.mark.parametrize("version", [2, 3])
def test_reads_plain_zarr_arrays_and_refuses_plates(version: int, tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=GREY, zarr_format=version)
    np.testing.assert_array_equal(read_image(tmp_path / "a.zarr").pixels[0], GREY)
    zarr.open_group(tmp_path / "b.zarr", mode="w", zarr_format=version).attrs["plate"] = {"rows": []}
    with pytest.raises(InputError, match="Give the path of one image in it"):
        read_image(tmp_path / "b.zarr")


@pytest.mark.parametrize("version", [2, 3])
def test_damaged_zarr_chunks_are_named(version: int, tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=GREY, zarr_format=version)
    for file in (tmp_path / "a.zarr").rglob("*"):
        if file.is_file() and not file.name.startswith(".z") and file.name != "zarr.json":
            file.write_bytes(file.read_bytes()[:9])
    with pytest.raises(InputError, match=r"a\.zarr is truncated or damaged"):
        read_image(tmp_path / "a.zarr")


def test_channel_files_are_joined(tmp_path: Path) -> None:
    paths = []
    for index in range(2):
        paths.append(tmp_path / f"a_000{index}.tif")
        tifffile.imwrite(paths[-1], STACK[index], metadata=None)
    image = read_image(tuple(paths), channels=("T1", "T2"))
    np.testing.assert_array_equal(image.pixels, STACK[:2])
    assert image.channels == ("T1", "T2")
    tifffile.imwrite(paths[1], GREY[1:], metadata=None)
    with pytest.raises(InputError, match="expected one channel per file and equal shapes"):
        read_image(tuple(paths))


def test_options_leave_colours_alone_among_stacks(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(COLOUR))
    tifffile.imwrite(tmp_path / "b.tif", STACK[:3], photometric="minisblack", metadata=None)
    for name in ("a.png", "b.tif"):
        assert read_image(tmp_path / name, axes="CYX").pixels.shape == (3, 24, 31)
    assert read_image(tmp_path / "a.png", axes="CYX").channels == ("red", "green", "blue")


def test_the_pixel_size_of_nifti_gives_way(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(STACK.T, np.eye(4)), tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").spacing_um == (1000.0, 1000.0, 1000.0)
    assert read_image(tmp_path / "a.nii", spacing_um=(0.5,)).spacing_um == (0.5, 0.5, 0.5)


def test_missing_files_folders_and_unknown_suffixes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.tif does not exist"):
        read_image(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.npy does not exist"):
        read_image(tmp_path / "a.npy")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)
    (tmp_path / "a.docx").write_text("cells")
    with pytest.raises(InputError, match=r"cannot be read\. Known: .*\.bmp"):
        read_image(tmp_path / "a.docx")


@given(
    arrays(
        np.int32,
        array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=9),
        elements=st.integers(0, 2**31 - 1),
    )
)
def test_labels_come_back_as_written(tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("labels") / "a.tif"
    write_labels(path, labels)
    np.testing.assert_array_equal(read_labels(path), labels)
    assert tifffile.imread(path).dtype == (np.uint32 if labels.max() > 65535 else np.uint16)


def test_labels_in_a_jpeg_are_refused(tmp_path: Path) -> None:
    io.imsave(tmp_path / "a.jpg", np.full((32, 32), 7, np.uint8), check_contrast=False)
    with pytest.raises(BadFileError, match="JPEG, whose compression changes ids") as caught:
        read_labels(tmp_path / "a.jpg")
    assert caught.value.kind == "lossy labels"


def test_labels_are_compressed_and_say_their_axes(tmp_path: Path) -> None:
    write_labels(tmp_path / "new" / "a.tif", np.ones((3, 64, 64), np.int32))
    with tifffile.TiffFile(tmp_path / "new" / "a.tif") as tif:
        assert tif.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert tif.series[0].axes == "ZYX"
    assert (tmp_path / "new" / "a.tif").stat().st_size < 5000


def test_labels_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="negative ids"):
        write_labels(tmp_path / "a.tif", np.full((2, 2), -1, np.int32))
    with pytest.raises(InputError, match=r"ends in \.tif"):
        write_labels(tmp_path / "a.png", np.ones((2, 2), np.int32))
    assert list(tmp_path.iterdir()) == []


def test_the_ignore_label_may_be_the_largest_number(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 7], [2**32 - 1, 300]], np.uint32))
    assert read_labels(tmp_path / "a.tif", ignore_label=2**32 - 1).tolist() == [[0, 7], [-1, 300]]
    with pytest.raises(InputError, match="ids up to 4294967295"):
        read_labels(tmp_path / "a.tif")


def test_whole_floats_gaps_and_the_ignore_label_are_fine(tmp_path: Path) -> None:
    ids = np.array([[0, 7], [-1, 300]], np.float32)
    tifffile.imwrite(tmp_path / "a.tif", ids, metadata=None)
    assert read_labels(tmp_path / "a.tif", ignore_label=-1).tolist() == [[0, 7], [-1, 300]]
    assert read_labels(tmp_path / "a.tif", ignore_label=-1).dtype == np.int32
    with pytest.raises(InputError, match=r"'ignore_label' in dataset\.toml"):
        read_labels(tmp_path / "a.tif")
    with pytest.raises(InputError, match="down to -1"):
        read_labels(tmp_path / "a.tif", ignore_label=7)


def test_one_mask_per_object_is_numbered_in_order(tmp_path: Path) -> None:
    masks = np.zeros((3, 4, 6), np.uint8)
    masks[0, 0], masks[1, 1], masks[2, 1, 3:] = 255, 255, 1
    paths = tuple(tmp_path / f"{index}.png" for index in range(3))
    for path, mask in zip(paths, masks, strict=True):
        path.write_bytes(imagecodecs.png_encode(mask))
    assert read_labels(paths).tolist() == [[1] * 6, [2, 2, 2, 3, 3, 3], [0] * 6, [0] * 6]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.ome.tif", "a"),
        ("a.b.PNG", "a.b"),
        ("a.nii.gz", "a"),
        ("a.ome.zarr", "a"),
        ("a_0000.tiff", "a_0000"),
        ("ohne", "ohne"),
    ],
)
def test_stems(name: str, stem: str) -> None:
    assert stem_of(Path("x") / name) == stem
