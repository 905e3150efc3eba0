import numpy as np
import pytest
from skimage.measure import regionprops
from skimage.morphology import disk

from morula.data.sample import Image
from morula.planning.objects import measure_objects, solidity
from synthetic import picture_of


def grey(pixels: np.ndarray) -> Image:
    return Image(pixels[None], ("grey",))


def test_two_boxes():
    labels = np.zeros((20, 30), np.int32)
    labels[2:6, 3:11] = 9
    labels[10:15, 20:25] = 4
    labels[18:] = -1
    facts = measure_objects(grey(np.where(labels > 0, 200, 10).astype(np.uint8)), labels)
    assert sorted(facts.extents_px.tolist()) == [[4, 8], [5, 5]]
    np.testing.assert_allclose(np.sort(facts.diameters_px), np.sqrt(np.array([25, 32]) * 4 / np.pi))
    np.testing.assert_allclose(facts.solidities, 1.0)
    assert facts.density == pytest.approx(57 / 540)
    assert facts.contrast > 0
    assert facts.touching == 0


def test_dark_objects_have_negative_contrast(labels):
    picture = picture_of(labels)
    assert measure_objects(grey(picture), labels).contrast > 0
    assert measure_objects(grey(255 - picture), labels).contrast < 0


def test_without_objects():
    for labels in (None, np.zeros((4, 5), np.int32), np.full((4, 5), -1, np.int32)):
        facts = measure_objects(grey(np.zeros((4, 5), np.uint8)), labels)
        assert facts.extents_px.shape == (0, 2)
        assert (facts.touching, facts.density, facts.contrast) == (0, 0, 0)


@pytest.mark.parametrize("shape", ["disc", "ring", "cross"])
def test_solidity_agrees_with_scikit_image(shape):
    mask = disk(15).astype(bool)
    if shape == "ring":
        mask[8:23, 15:] = False
    if shape == "cross":
        mask = np.zeros((21, 21), bool)
        mask[8:13] = mask[:, 8:13] = True
    # scikit-image rasterises the hull, here its exact area counts.
    assert solidity(mask) == pytest.approx(regionprops(mask.astype(int))[0].solidity, abs=0.05)


def test_solidity_of_thin_things():
    assert solidity(np.ones((1, 1), bool)) == 1
    assert solidity(np.ones((1, 7), bool)) == pytest.approx(1)
    assert solidity(np.ones((3, 4, 5), bool)) == pytest.approx(1)


def test_inputs_are_left_alone(labels):
    before = labels.copy()
    measure_objects(grey(picture_of(labels)), labels)
    np.testing.assert_array_equal(labels, before)
