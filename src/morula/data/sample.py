"""One image with what is known about it."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from morula.errors import InputError
from morula.types import Spacing

RGB = ("red", "green", "blue")
"""Channel names of a colour image."""


@dataclass(frozen=True)
class Image:
    """Pixels as they lie in the file, with their axes put in order."""

    pixels: np.ndarray
    """``(C, *spatial)``, any integer or float dtype, channels first, ``z y x`` or ``y x``."""

    channels: tuple[str, ...]
    """One name per channel: ``grey``; those of `RGB`; the file's names; or ``channel 0`` ..."""

    spacing_um: Spacing | None = None
    """Pixel size in micrometres per spatial axis; None when the file does not say."""

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return self.pixels.ndim - 1

    def only(self, channel: str) -> "Image":
        """One channel alone, a view of the pixels.

        Args:
            channel: Its name, or its number, counted from 0; capitals do not count where that leaves one.

        Raises:
            InputError: There is no such channel.

        Example:
            >>> Image(np.zeros((2, 4, 5)), ("actin", "dapi")).only("dapi").channels
            ('dapi',)
        """
        numbers = [str(number) for number in range(len(self.channels))]
        folded = [name.casefold() for name in self.channels]
        alike = folded if folded.count(channel.casefold()) == 1 else []
        for known, wanted in ((self.channels, channel), (numbers, channel), (alike, channel.casefold())):
            if wanted in known:
                place = known.index(wanted)
                return replace(self, pixels=self.pixels[place : place + 1], channels=(self.channels[place],))
        msg = (
            f"the image has no channel {channel!r}; it has {', '.join(self.channels)}."
            " Name one of them, or its number, counted from 0."
        )
        raise InputError(msg)


def is_replicated(pixels: np.ndarray) -> bool:
    """Whether ``(C, *spatial)`` is one channel seen several times, as a grey image that fills several is."""
    return len(pixels) > 1 and pixels.strides[0] == 0


@dataclass(frozen=True)
class Sample:
    """Where one image and its labels lie; nothing is read yet."""

    id: str
    """Unique in the dataset: the path below the image folder without suffix, with ``/``."""

    image: tuple[Path, ...]
    """The image file; several when each channel is a file of its own (nnU-Net)."""

    labels: tuple[Path, ...] = ()
    """The label file; several when each object is a mask file of its own (DSB 2018); empty: unlabelled."""

    group: str = ""
    """Samples of one group (field of view, patient) never span two folds; the id when not given."""

    fold: int | None = None
    """Fold given by the dataset's index, else None."""

    attributes: dict[str, str] = field(default_factory=dict)
    """Further columns of the index: modality, preparation ..."""
