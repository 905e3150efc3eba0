"""The picture of a receptive field: one panel per level, with the largest object to scale."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from morula.data.files import write_atomic
from morula.types import Map, Mask

if TYPE_CHECKING:
    from morula.evaluation.receptive_field import FieldReport
    from morula.networks.receptive_field import Sensitivity

PANEL_INCHES = 3.0
COLUMNS = 4
DECADES = 4
"""Powers of ten between the darkest and the brightest colour."""

OBJECT_COLOUR, FIELD_COLOUR = "#19c8b0", "#ffffff"


def draw_fields(
    report: "FieldReport",
    found: Sequence["Sensitivity"],
    patch: Map,
    largest: Mask,
    aspect: Sequence[float],
) -> None:
    """Write ``report.picture``: an example patch, then the gradient at the image and at every level.

    The largest object is outlined around the output pixel, and a circle holds 95 % of the gradient. Volumes
    are summed along their first axis.

    Raises:
        OSError: It cannot be written.
    """
    from matplotlib.figure import Figure

    count = 1 + len(found)
    rows = -(-count // COLUMNS)
    size = (PANEL_INCHES * min(count, COLUMNS), (PANEL_INCHES + 0.3) * rows + 0.4)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    panels = figure.subplots(rows, min(count, COLUMNS), squeeze=False).ravel()
    window = patch.shape[-2:]
    sides = np.multiply(window, aspect[-2:])
    box = (0.0, float(sides[1]), float(sides[0]), 0.0)
    middle = ((window[1] // 2 + 0.5) * aspect[-1], (window[0] // 2 + 0.5) * aspect[-2])
    grey = patch.mean(0)
    shown = grey if grey.ndim == 2 else grey[len(grey) // 2]
    panels[0].imshow(shown, cmap="gray", extent=box, interpolation="nearest")
    panels[0].set_title("a patch of the " + report.patches)
    for panel, item, level in zip(panels[1:], found, report.levels, strict=False):
        _draw_gradient(panel, item, box)
        _draw_circle(panel, middle, level.effective_px / 2)
        seen = "image" if level.name == "image" else f"level {level.name}"
        panel.set_title(f"{seen}: 95 % in {level.effective_px:.0f} px")
    for panel in panels[:count]:
        _outline(panel, largest, middle, aspect)
        panel.set(xlim=box[:2], ylim=box[2:], xticks=[], yticks=[])
    for panel in panels[count:]:
        panel.set_axis_off()
    verdict = "covers" if report.covers else "does not cover"
    figure.suptitle(
        f"The effective field ({report.levels[0].effective_px:.0f} px, white) {verdict} the largest object "
        f"({report.object_px:.0f} px, green)",
        fontsize=12,
    )
    with write_atomic(report.picture) as part:
        figure.savefig(part, dpi=110, format="png")


def _draw_gradient(panel: Any, item: "Sensitivity", box: tuple[float, ...]) -> None:
    from matplotlib.colors import LogNorm

    flat = item.gradient if item.gradient.ndim == 2 else item.gradient.sum(0)
    top = float(flat.max())
    scale = LogNorm(top / 10**DECADES, top, clip=True)
    panel.imshow(flat, cmap="magma", norm=scale, extent=box, interpolation="nearest")


def _draw_circle(panel: Any, middle: tuple[float, float], radius: float) -> None:
    from matplotlib.patches import Circle

    panel.add_patch(Circle(middle, radius, fill=False, color=FIELD_COLOUR, linewidth=1.4, linestyle="--"))


def _outline(panel: Any, largest: Mask, middle: tuple[float, float], aspect: Sequence[float]) -> None:
    """The object's outline, its box centred on the output pixel."""
    flat = largest if largest.ndim == 2 else largest.any(0)
    padded = np.pad(flat, 1).astype(float)
    height, width = padded.shape
    x = middle[0] + (np.arange(width) - (width - 1) / 2) * aspect[-1]
    y = middle[1] + (np.arange(height) - (height - 1) / 2) * aspect[-2]
    panel.contour(x, y, padded, levels=[0.5], colors=[OBJECT_COLOUR], linewidths=1.6)
