"""Where several predictions disagree most: the same crop under each of them, beside the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from morula.data.dataset import Dataset
from morula.data.files import write_atomic
from morula.data.formats import read_labels
from morula.data.sample import Image
from morula.errors import InputError
from morula.evaluation.comparison import Contest, Entrant
from morula.evaluation.metrics import match_image
from morula.evaluation.pairing import predictions_of
from morula.evaluation.pictures import shrunk
from morula.evaluation.semantic import mean_dice
from morula.labels.matching import matched_pairs
from morula.labels.measure import diameters
from morula.types import Labels, Mask

PICTURES = 12
"""Crops that are shown."""

PANEL_PX = 480
"""Side of one panel, about."""

WIDTH_DIAMETERS = 9.0
"""Width of a crop, in median object diameters of its image."""

SMALLEST_PX, LARGEST_PX = 96, 320
"""Limits of that width."""

Window = tuple[slice, slice]
"""Rows and columns of a crop."""


@dataclass(frozen=True)
class Dispute:
    """One crop."""

    name: str
    """Id of the image."""

    image: Image
    """The crop ``(C, y, x)``."""

    truth: Labels
    """``(y, x)``."""

    found: dict[str, Labels]
    """By entrant ``(y, x)``."""

    def panels(self) -> dict[str, np.ndarray]:
        """The truth (named ``""``) and every entrant, outlined as in an evaluation, uint8 RGB."""
        from morula.prediction.overlay import draw_overlay

        truth = np.maximum(self.truth, 0)
        both = {"": truth, **self.found}
        return {
            name: shrunk(draw_overlay(self.image, labels, truth, smallest=PANEL_PX), PANEL_PX)
            for name, labels in both.items()
        }

    def scores(self, classes: Mapping[str, int]) -> dict[str, float]:
        """AP@.5 of every entrant inside the crop; of classes, mean Dice."""
        if classes:
            return {name: mean_dice(self.truth, labels, classes) for name, labels in self.found.items()}
        return {name: match_image(self.truth, labels, (0.5,))[0].ap for name, labels in self.found.items()}


def most_disputed(contest: Contest, most: int = PICTURES) -> list[int]:
    """Places of the images whose scores differ most between entrants, each modality in turn.

    Of a single entrant, the images with the lowest scores.
    """
    # The first score is the one that ranks.
    scores = np.stack([contest.ratios(name).mean(1)[:, 0, 0] for name in contest.scores])
    spread = scores.std(0) if len(scores) > 1 else 1 - scores[0]
    groups: dict[str, list[int]] = {}
    for index in np.argsort(-spread, kind="stable").tolist():
        groups.setdefault(contest.samples[index].attributes.get("modality", ""), []).append(index)
    # In turn, so that the largest modality does not take all places.
    turns = [(turn, -spread[index], index) for group in groups.values() for turn, index in enumerate(group)]
    return [index for _, _, index in sorted(turns)[:most]]


def disputed_window(truth: Labels, found: Sequence[Labels], side_px: int) -> Window:
    """The square where entrants disagree most about which true objects are found, and what is invented.

    Args:
        truth: ``(y, x)``.
        found: Labels of every entrant ``(y, x)``.
        side_px: Side of the square; no larger than the image.
    """
    import cv2

    verdicts = np.stack([_verdict(truth, labels) for labels in found])
    # Where all agree, what all get wrong is worth a look, and any object more than none.
    heat = verdicts.std(0) + 1e-2 * np.maximum(-verdicts.mean(0), 0) + 1e-4 * (truth > 0)
    # Weighted around each place, so that the dispute stands in the middle of the crop.
    near = cv2.GaussianBlur(heat.astype(np.float32), (0, 0), side_px / 4, borderType=cv2.BORDER_CONSTANT)
    centre = np.unravel_index(int(near.argmax()), near.shape)
    sides = [min(side_px, size) for size in truth.shape]
    starts = [
        int(np.clip(middle - side // 2, 0, size - side))
        for middle, side, size in zip(centre, sides, truth.shape, strict=True)
    ]
    rows, columns = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return rows, columns


def find_dispute(name: str, image: Image, truth: Labels, found: Mapping[str, Labels]) -> Dispute:
    """The crop of an image that tells most about the entrants; of a volume, in its fullest plane.

    Args:
        name: Id of the image.
        image: ``(C, *spatial)``; outlines stand on black when its grid is another one.
        truth: ``(*spatial)``; -1 is not annotated.
        found: Labels of every entrant ``(*spatial)``.
    """
    from morula.prediction.overlay import fullest_plane

    if image.pixels.shape[1:] != truth.shape:
        image = Image(np.zeros((1, *truth.shape), np.uint8), ("grey",))
    if truth.ndim == 3:
        plane = fullest_plane(truth)
        image, truth = replace(image, pixels=image.pixels[:, plane]), truth[plane]
        found = {key: labels[plane] for key, labels in found.items()}
    sizes = diameters(np.maximum(truth, 0))
    width = WIDTH_DIAMETERS * float(np.median(sizes)) if len(sizes) else SMALLEST_PX
    side = int(np.clip(width, SMALLEST_PX, LARGEST_PX))
    window = disputed_window(truth, list(found.values()), side)
    crops = {key: np.ascontiguousarray(labels[window]) for key, labels in found.items()}
    pixels = np.ascontiguousarray(image.pixels[(slice(None), *window)])
    return Dispute(name, replace(image, pixels=pixels), np.ascontiguousarray(truth[window]), crops)


def write_disputes(
    contest: Contest, entrants: Sequence[Entrant], dataset: Dataset, out: Path
) -> list[dict[str, Any]]:
    """Write ``pictures/NUMBER_PLACE.jpg`` of the most disputed crops, each entrant by its first seed.

    Returns:
        Per crop: the image's id, the truth's picture, and each entrant's picture and score in it.

    Raises:
        InputError: They cannot be written.
    """
    ids = [sample.id for sample in contest.samples]
    files = {entrant.name: predictions_of(entrant.folders[0], ids) for entrant in entrants}
    rows = []
    from morula.prediction.overlay import jpeg

    for number, index in enumerate(most_disputed(contest)):
        sample = contest.samples[index]
        truth = dataset.labels(sample)
        try:
            image = dataset.image(sample)
        except InputError:
            image = Image(np.zeros((1, *truth.shape), np.uint8), ("grey",))
        found = {name: read_labels(paths[sample.id]) for name, paths in files.items()}
        dispute = find_dispute(sample.id, image, truth, found)
        panels = {}
        for place, (name, panel) in enumerate(dispute.panels().items()):
            panels[name] = f"pictures/{number}_{place}.jpg"
            with write_atomic(out / panels[name]) as part:
                part.write_bytes(jpeg(panel))
        scores = dispute.scores(contest.classes)
        shown = {name: {"picture": panels[name], "score": score} for name, score in scores.items()}
        rows.append({"id": sample.id, "truth": panels[""], "entrants": shown})
    return rows


def _verdict(truth: Labels, found: Labels) -> np.ndarray:
    """1 on true objects that are found (IoU of at least 0.5), -1 on missed and invented ones, else 0."""
    true_ids, found_ids, _ = matched_pairs(truth, found)
    true: Mask = truth > 0
    invented: Mask = (found > 0) & (truth == 0) & ~np.isin(found, found_ids)
    return np.where(true, np.where(np.isin(truth, true_ids), 1, -1), -invented.astype(np.int8)).astype(float)
