"""What each representation can reach at best on these labels: encode, then decode, without a network."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from morula.data.dataset import Dataset
from morula.data.sample import Sample
from morula.errors import InputError
from morula.labels.matching import DSB_THRESHOLDS, Matching, match, pool
from morula.labels.resample import resample_labels
from morula.planning.fingerprint import Ceiling
from morula.representations import BUILT_IN, Representation, decode_to_shape, read_representation, task_of
from morula.types import Labels, Spacing

LARGEST_PX = {2: 1024, 3: 128}
"""Larger labels are measured on a central window of this side, by number of axes."""


def measure_ceilings(
    dataset: Dataset,
    samples: Sequence[Sample],
    spacing: Spacing,
    max_images: int = 20,
    *,
    zoom: Sequence[float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Ceiling, ...]:
    """Measure every built-in representation of instances, with its defaults, on the user's own labels.

    Args:
        dataset: Where the samples come from.
        samples: Unlabelled ones are passed over; of the others, up to `max_images` evenly spread ones count.
        spacing: Working pixel size per axis, as the representations see it.
        max_images: Upper bound on the number of images.
        zoom: Working pixels per image pixel, per axis: labels are resampled first when given.
        progress: Called with (done, total) after every image of every representation.

    Returns:
        One row per representation, the best DSB score first.

    Raises:
        InputError: No sample has labels.
    """
    labelled = [sample for sample in samples if sample.labels]
    if not labelled:
        msg = "no image has labels; the ceilings of the representations are measured on labels."
        raise InputError(msg)
    count = min(max_images, len(labelled))
    chosen = [labelled[(2 * index + 1) * len(labelled) // (2 * count)] for index in range(count)]
    truths = [_working_labels(dataset.labels(sample), zoom) for sample in chosen]
    kinds = [kind for kind in BUILT_IN if kind != "union" and task_of(kind) == "instances"]
    rows = []
    for number, kind in enumerate(kinds):
        representation = read_representation({"kind": kind})
        _round_trip(representation, _corner(truths[0]), spacing)  # untimed: compiles the kernels
        matchings, seconds = [], 0.0
        for done, truth in enumerate(truths, start=1):
            matching, taken = _round_trip(representation, truth, spacing)
            matchings.append(matching)
            seconds += taken
            if progress is not None:
                progress(number * count + done, len(kinds) * count)
        rows.append(_row(kind, matchings, seconds, sum(truth.size for truth in truths)))
    return tuple(sorted(rows, key=lambda row: -row.dsb_score))


def _working_labels(labels: Labels, zoom: Sequence[float] | None) -> Labels:
    side = LARGEST_PX[labels.ndim]
    window = tuple(
        slice(max(0, (size - side) // 2), max(0, (size - side) // 2) + side) for size in labels.shape
    )
    crop = np.ascontiguousarray(np.maximum(labels[window], 0))
    if zoom is None:
        return crop
    shape = tuple(max(1, round(size * factor)) for size, factor in zip(crop.shape, zoom, strict=True))
    return resample_labels(crop, shape)


def _corner(labels: Labels) -> Labels:
    return np.ascontiguousarray(labels[(slice(None, 32),) * labels.ndim])


def _round_trip(
    representation: Representation, truth: Labels, spacing: Spacing
) -> tuple[tuple[Matching, ...], float]:
    started = time.perf_counter()
    maps = representation.encode(truth, spacing)
    decoded = decode_to_shape(representation, maps, spacing, truth.shape)
    taken = time.perf_counter() - started
    return match(truth, decoded, DSB_THRESHOLDS), taken


def _row(kind: str, matchings: Sequence[tuple[Matching, ...]], seconds: float, pixels: int) -> Ceiling:
    ap = {pooled.threshold: round(pooled.ap, 4) for pooled in pool(matchings)}
    score = float(np.mean([[matching.ap for matching in image] for image in matchings]))
    return Ceiling(
        representation=kind,
        ap50=ap[0.5],
        ap75=ap[0.75],
        ap90=ap[0.9],
        dsb_score=round(score, 4),
        ms_per_megapixel=round(seconds * 1e9 / max(1, pixels), 1),
    )
