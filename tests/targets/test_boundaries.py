import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from morula.errors import InputError
from morula.targets.boundaries import shrink, touching_borders
from synthetic import touching_balls

small_labels = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9), elements=st.integers(-1, 4)
)
quick = settings(max_examples=60, deadline=None)


@quick
@given(small_labels, st.sampled_from([1, 1.5, 2, 3]))
def test_touching_borders_by_one_transform_per_instance(labels, reach):
    near = [
        ndimage.distance_transform_edt(labels != i) <= reach
        if (labels == i).any()
        else np.zeros(labels.shape)
        for i in range(1, 5)
    ]
    np.testing.assert_array_equal(touching_borders(labels, reach), np.sum(near, 0) >= 2)


def test_lone_instances_have_no_border():
    labels = np.zeros((9, 20), np.int32)
    labels[2:7, 2:7], labels[2:7, 12:17] = 1, 2
    assert not touching_borders(labels, 2).any()
    assert touching_borders(labels, 3)[:, 9].sum() == 5


def test_instances_on_opposite_sides_of_the_image_do_not_touch():
    labels = np.zeros((4, 6), np.int32)
    labels[:, 0], labels[:, -1] = 1, 2
    assert not touching_borders(labels, 2).any()


@pytest.mark.parametrize("width", [1, 2, 3.5, 50])
def test_no_instance_vanishes_or_grows_when_shrunk(labels, width):
    shrunk = shrink(labels, width)
    assert set(np.unique(shrunk)) == set(np.unique(labels))
    assert ((shrunk == labels) | (shrunk == 0)).all()


@quick
@given(small_labels)
def test_no_random_instance_vanishes_when_shrunk(labels):
    assert set(np.unique(shrink(labels, 2))) - {0} == set(np.unique(labels)) - {0, -1}


def test_shrinking_a_large_instance_takes_the_whole_width():
    labels = np.zeros((20, 20), np.int32)
    labels[3:17, 3:17] = 7
    expected = np.zeros_like(labels)
    expected[5:15, 5:15] = 7
    np.testing.assert_array_equal(shrink(labels, 2), expected)


def test_shrunk_touching_instances_are_apart(labels):
    shrunk = shrink(labels, 1)
    pieces, count = ndimage.label(shrunk > 0)
    assert count == labels.max()
    assert all(len(np.unique(shrunk[pieces == piece])) == 1 for piece in range(1, count + 1))


def test_a_coarse_axis_still_loses_one_pixel():
    labels = touching_balls(3, 48)[::3].copy()
    pair = np.zeros((4, 6, 6), np.int32)
    pair[:2], pair[2:] = 1, 2
    assert touching_borders(pair, 2, (3.0, 1.0, 1.0))[1:3].all()
    _, count = ndimage.label(shrink(labels, 2, (3.0, 1.0, 1.0)) > 0)
    assert count == len(np.unique(labels)) - 1


def test_spacing_only_matters_by_its_ratio(labels):
    coarse = (2.0,) + (1.0,) * (labels.ndim - 1)
    fine = tuple(0.3 * step for step in coarse)
    np.testing.assert_array_equal(shrink(labels, 2, coarse), shrink(labels, 2, fine))
    np.testing.assert_array_equal(touching_borders(labels, 2, coarse), touching_borders(labels, 2, fine))


@pytest.mark.parametrize("function", [touching_borders, shrink])
def test_a_width_below_one_pixel_is_refused(function):
    with pytest.raises(InputError, match="at least 1 pixel; found 0"):
        function(np.zeros((3, 3), np.int32), 0)
