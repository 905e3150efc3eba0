import numpy as np
from skimage.measure import regionprops

from morula.labels.extents import extents


def test_agrees_with_scikit_image(labels):
    labels[0, 0] = -1
    rows = extents(labels * 3 * (labels > 0) - (labels < 0))
    regions = regionprops(np.maximum(labels, 0))
    assert rows.ids.tolist() == [3 * region.label for region in regions]
    assert rows.sizes.tolist() == [region.area for region in regions]
    boxes = np.concatenate([rows.low, rows.high], 1)
    np.testing.assert_array_equal(boxes, [region.bbox for region in regions])


def test_window_with_margin_stays_in_the_image():
    labels = np.zeros((5, 6), np.int32)
    labels[0, 4:6] = 2
    rows = extents(labels)
    assert rows.window(0) == (slice(0, 1), slice(4, 6))
    assert rows.window(0, margin=2, shape=labels.shape) == (slice(0, 3), slice(2, 6))


def test_no_objects():
    assert extents(np.full((3, 3), -1, np.int32)).ids.size == 0
