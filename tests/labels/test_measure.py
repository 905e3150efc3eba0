from dataclasses import dataclass

import numpy as np
import pytest
from skimage.draw import ellipse
from skimage.measure import regionprops
from skimage.morphology import convex_hull_image

from morula.labels.measure import diameters, measure, touching_share


@dataclass(frozen=True)
class Picture:
    pixels: np.ndarray
    channels: tuple[str, ...]


def test_agrees_with_scikit_image(labels):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 65535, labels.shape).astype(np.uint16)
    rows = measure(labels, Picture(pixels[None], ("dna",)))
    regions = regionprops(labels, pixels)
    assert len(rows) == len(regions)
    axes = "zyx"[-labels.ndim :]
    for row, region in zip(rows, regions, strict=True):
        assert row["label"] == region.label
        assert row["area_px" if labels.ndim == 2 else "volume_px"] == region.area
        np.testing.assert_allclose([row[f"centroid_{a}"] for a in axes], region.centroid)
        box = [row[f"bbox_{a}0"] for a in axes] + [row[f"bbox_{a}1"] for a in axes]
        np.testing.assert_array_equal(box, region.bbox)
        np.testing.assert_allclose(row["equivalent_diameter_px"], region.equivalent_diameter_area)
        np.testing.assert_allclose(row["major_axis_px"], region.axis_major_length)
        np.testing.assert_allclose(row["minor_axis_px"], region.axis_minor_length)
        np.testing.assert_allclose(row["mean_dna"], region.intensity_mean)
        assert (row["min_dna"], row["max_dna"]) == (region.intensity_min, region.intensity_max)
        if labels.ndim == 2:
            np.testing.assert_allclose(row["eccentricity"], region.eccentricity)


@pytest.mark.parametrize("seed", range(5))
def test_solidity_counts_the_pixels_of_the_hull(seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random((14, 17)) < 0.08).astype(np.int32)
    (row,) = measure(labels)
    hull = convex_hull_image(labels > 0, offset_coordinates=False)
    assert row["solidity"] == pytest.approx(labels.sum() / hull.sum())


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (4, 6)])
def test_boxes_and_lines_are_convex(shape):
    assert measure(np.ones(shape, np.int32))[0]["solidity"] == 1


def test_an_ellipse_has_its_axes():
    labels = np.zeros((100, 100), np.int32)
    labels[ellipse(50, 50, 20, 40)] = 1
    (row,) = measure(labels, spacing_um=(0.5, 0.25))
    assert row["major_axis_px"] == pytest.approx(80, abs=0.7)
    assert row["minor_axis_px"] == pytest.approx(40, abs=0.7)
    # 40 px * 0.5 um and 80 px * 0.25 um: a circle in micrometres.
    assert row["major_axis_um"] == pytest.approx(20, abs=0.3)
    assert row["minor_axis_um"] == pytest.approx(20, abs=0.3)
    assert row["eccentricity"] < 0.2
    assert row["area_um2"] == pytest.approx(row["area_px"] / 8)


def test_confidence_and_missing_confidence():
    rows = measure(np.array([[2, 0, 7]], np.int32), confidence={7: 0.25})
    assert np.isnan(rows[0]["confidence"])
    assert rows[1]["confidence"] == 0.25


def test_values_are_plain_numbers_and_gaps_are_fine():
    rows = measure(np.array([[300, 0], [-1, 5]], np.int32), Picture(np.ones((1, 2, 2), np.float16), ("a",)))
    assert [row["label"] for row in rows] == [5, 300]
    assert {type(value) for row in rows for value in row.values()} == {int, float}


def test_no_objects():
    assert measure(np.zeros((4, 4), np.int32)) == []
    assert diameters(np.zeros((4, 4), np.int32)).size == 0
    assert touching_share(np.zeros((4, 4), np.int32)) == 0


def test_diameters(labels):
    size = np.bincount(labels.ravel())[1:]
    expected = 2 * np.sqrt(size / np.pi) if labels.ndim == 2 else 2 * np.cbrt(3 * size / 4 / np.pi)
    np.testing.assert_allclose(diameters(labels), expected)


def test_touching_reaches_two_pixels():
    assert touching_share(np.array([[1, 0, 2, 0, 0, 3]], np.int32)) == pytest.approx(2 / 3)
    assert touching_share(np.array([[1, -1, 2]], np.int32)) == 1
    assert touching_share(np.array([[[1]], [[0]], [[2]]], np.int32)) == 1


@pytest.mark.parametrize(
    ("image", "spacing"), [(Picture(np.zeros((1, 3, 3)), ("a",)), None), (None, (1.0, 1.0, 1.0))]
)
def test_what_does_not_fit_is_refused(image, spacing):
    with pytest.raises(ValueError, match=r"shape|axes"):
        measure(np.ones((2, 2), np.int32), image, spacing)
