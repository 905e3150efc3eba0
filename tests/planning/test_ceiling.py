import numpy as np
import pytest
import tifffile

from morula.data.layouts import open_dataset
from morula.errors import InputError
from morula.planning.ceiling import measure_ceilings
from morula.representations import BUILT_IN
from synthetic import picture_of, touching_balls


@pytest.fixture
def dataset(tmp_path):
    labels = touching_balls(2, shape=96)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name in "abc":
        tifffile.imwrite(tmp_path / "images" / f"{name}.tif", picture_of(labels))
        tifffile.imwrite(tmp_path / "labels" / f"{name}.tif", labels.astype(np.uint16))
    tifffile.imwrite(tmp_path / "images" / "unlabelled.tif", picture_of(labels))
    return open_dataset(tmp_path)


@pytest.mark.slow
def test_every_representation_is_measured(dataset):
    seen: list[int] = []
    rows = measure_ceilings(
        dataset,
        dataset.samples,
        (1.0, 1.0),
        max_images=2,
        progress=lambda done, total: seen.append(total - done),
    )
    kinds = set(BUILT_IN) - {"union", "class_distance"}
    assert {row.representation for row in rows} == kinds
    assert seen == list(range(2 * len(kinds) - 1, -1, -1))
    assert [row.dsb_score for row in rows] == sorted((row.dsb_score for row in rows), reverse=True)
    by_kind = {row.representation: row for row in rows}
    # Touching balls: whoever splits them is near perfect, plain foreground is not.
    assert by_kind["hover"].ap50 > 0.9 > by_kind["foreground"].ap50
    assert all(row.ap50 >= row.ap75 >= row.ap90 for row in rows)
    assert all(row.ms_per_megapixel > 0 for row in rows)


def test_labels_are_needed(dataset):
    with pytest.raises(InputError, match="no image has labels"):
        measure_ceilings(dataset, dataset.unlabelled, (1.0, 1.0))
