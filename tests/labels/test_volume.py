import numpy as np
import pytest

from morula.labels.volume import as_volume, check_indexable, check_same_shape


@pytest.mark.parametrize("shape", [(5,), (4, 5), (3, 4, 5)])
def test_up_to_three_axes_become_a_volume(shape):
    array = np.arange(np.prod(shape)).reshape(shape)
    volume = as_volume(array)
    assert volume.shape == (1,) * (3 - len(shape)) + shape
    assert np.shares_memory(volume, array)


def test_a_strided_view_is_copied():
    array = np.arange(20).reshape(4, 5)[:, ::2]
    assert as_volume(array).flags.c_contiguous
    np.testing.assert_array_equal(as_volume(array)[0], array)


def test_four_axes_are_refused():
    with pytest.raises(ValueError, match="4 axes"):
        as_volume(np.zeros((1, 1, 1, 1)))


def test_shapes_are_named():
    check_same_shape(one=np.zeros(3), none=None, other=np.ones(3))
    with pytest.raises(ValueError, match=r"one has shape \(3,\), other has shape \(4,\)"):
        check_same_shape(one=np.zeros(3), other=np.zeros(4))


def test_more_pixels_than_an_index_can_number():
    check_indexable((40_000, 40_000))
    with pytest.raises(ValueError, match="work on blocks"):
        check_indexable((50_000, 50_000))
