"""One image and its channels."""

import numpy as np
import pytest

from morula.data.sample import Image
from morula.errors import InputError


def test_a_channel_is_found_by_name_number_and_without_regard_to_capitals() -> None:
    image = Image(np.arange(24).reshape(2, 3, 4), ("Actin", "DAPI"))
    for name in ("DAPI", "1", "dapi"):
        assert image.only(name).channels == ("DAPI",)
        np.testing.assert_array_equal(image.only(name).pixels, image.pixels[1:])
    with pytest.raises(InputError, match="no channel 'tubulin'; it has Actin, DAPI"):
        image.only("tubulin")


def test_capitals_count_where_they_tell_channels_apart() -> None:
    image = Image(np.zeros((2, 3, 4)), ("a", "A"))
    assert image.only("A").channels == ("A",)
    with pytest.raises(InputError, match="no channel 'B'"):
        image.only("B")
    three = Image(np.zeros((2, 3, 4)), ("aB", "AB"))
    with pytest.raises(InputError, match="no channel 'ab'"):
        three.only("ab")
