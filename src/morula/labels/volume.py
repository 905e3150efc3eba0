"""One kernel for 2D and 3D: every compiled loop runs over ``(z, y, x)``, and 2D is a volume of one plane."""

import numpy as np


def as_volume(array: np.ndarray) -> np.ndarray:
    """`array` as a C-contiguous ``(z, y, x)``; a view wherever that is possible.

    Args:
        array: ``(*spatial)`` with one to three axes.

    Raises:
        ValueError: `array` has no axis or more than three.
    """
    if not 1 <= array.ndim <= 3:
        msg = f"an array of {array.ndim} axes; expected 1 to 3 spatial axes"
        raise ValueError(msg)
    return np.ascontiguousarray(array).reshape((1,) * (3 - array.ndim) + array.shape)


def check_same_shape(**arrays: np.ndarray | None) -> None:
    """Refuses arrays that do not cover the same pixels.

    Args:
        arrays: Named arrays ``(*spatial)``; those that are None are left out.

    Raises:
        ValueError: Two shapes differ; both are named.
    """
    given = [(name, array.shape) for name, array in arrays.items() if array is not None]
    first, shape = given[0]
    for name, other in given[1:]:
        if other != shape:
            msg = f"{first} has shape {shape}, {name} has shape {other}; they must be equal"
            raise ValueError(msg)


def check_indexable(shape: tuple[int, ...]) -> None:
    """Refuses arrays whose pixels 32-bit indices cannot number (queues hold one such index per pixel).

    Raises:
        ValueError: There are 2^31 pixels or more.
    """
    if np.prod([n + 2 for n in shape], dtype=np.float64) >= 2**31:
        msg = f"shape {shape} has too many pixels for one piece (2^31); work on blocks of it"
        raise ValueError(msg)
