"""Array types: every shape in the package is spelled with these names.

Axes are always ordered ``(channel, z, y, x)``; 2D drops ``z``. A type says dtype and axes;
`*spatial` stands for ``y x`` or ``z y x``, so one function serves 2D and 3D. Shared aliases name
their axes ``_`` because jaxtyping binds axis names across a whole call.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Int32

PathLike: TypeAlias = str | Path
"""Where a file or folder is."""

Spacing: TypeAlias = tuple[float, ...]
"""Size of a pixel, one positive number per spatial axis: micrometres when known, else 1.0 (pixels)."""

Labels: TypeAlias = Int32[np.ndarray, "*_"]
"""Instance ids ``(*spatial)``: 0 is background, -1 is "not annotated", ids need not be sequential."""

Mask: TypeAlias = Bool[np.ndarray, "*_"]
"""Boolean ``(*spatial)``."""

Scalar: TypeAlias = Float32[np.ndarray, "*_"]
"""One number per pixel, ``(*spatial)``."""

Map: TypeAlias = Float32[np.ndarray, "_ *_"]
"""One head's target or activated output, ``(channel, *spatial)``."""

Maps: TypeAlias = dict[str, Map]
"""One array per head name: training targets, or activated network outputs."""

if TYPE_CHECKING:
    from torch import Tensor

    Tensors: TypeAlias = dict[str, Tensor]
else:
    # Torch is not imported here: metrics and decoding must not wait for it.
    Tensors: TypeAlias = dict[str, Any]
"""The batched torch counterpart of `Maps`: ``(batch, channel, *spatial)``."""
