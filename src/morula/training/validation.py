"""How good a network is on prepared images that it was not trained on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from morula.data.sample import Sample
from morula.evaluation.metrics import match_image, mean_ap
from morula.evaluation.semantic import mean_dice
from morula.planning.plan import Plan
from morula.prediction.confidence import needed_heads
from morula.prediction.ensemble import best_precision, ready
from morula.prediction.model import Model
from morula.preprocessing.prepare import Prepared
from morula.representations import decode_to_shape
from morula.training.loop import build_network
from morula.types import Labels, Maps

LOOK_IMAGES = 40
"""Validation images of a look during training; the final evaluation takes all of them."""

PROBE_IMAGES = 3
"""Images on which the time of a look is measured."""

TUNE_IMAGES, TUNE_BYTES = 60, 2 << 30
"""Images that the decoder is tuned on after a training, at most; memory for the maps of any tuning."""

GOLDEN = (5**0.5 - 1) / 2

Example = tuple[Maps, Labels]
"""Predicted maps and truth of one image, on the working grid."""

SampleType = TypeVar("SampleType", Sample, Prepared)


def spread(samples: Sequence[SampleType], most: int) -> tuple[SampleType, ...]:
    """At most `most` samples, evenly over the list sorted by modality and id."""
    ordered = sorted(samples, key=lambda sample: (_modality(sample), sample.id))
    if len(ordered) <= most:
        return tuple(ordered)
    chosen = np.linspace(0, len(ordered) - 1, most).round().astype(int)
    return tuple(ordered[index] for index in chosen)


def evenly(samples: Sequence[SampleType]) -> list[SampleType]:
    """In an order in which those taken fall evenly over the list, however many they are."""
    # As multiples of the golden ratio do.
    return [samples[index] for index in sorted(range(len(samples)), key=lambda place: place * GOLDEN % 1)]


def _modality(sample: Sample | Prepared) -> str:
    return sample.modality if isinstance(sample, Prepared) else sample.attributes.get("modality", "")


def maps_of(model: Model, sample: Prepared, *, every_head: bool) -> Maps:
    """Activated maps of a prepared image on the working grid.

    Args:
        model: The networks.
        sample: The image.
        every_head: All maps; else only those that the plan's decoder reads.
    """
    image = np.load(sample.image).astype(np.float32)
    heads = None if every_head else needed_heads(model.plan.representation, model.plan.ndim)
    return model.maps_of(image, heads=heads)


def truth_of(sample: Prepared) -> Labels:
    """Labels of a prepared image, int32 ``(*spatial)`` on the working grid.

    Raises:
        ValueError: The sample has no labels.
    """
    if sample.labels is None:
        msg = f"{sample.id} has no labels; only labelled samples can be scored"
        raise ValueError(msg)
    return np.load(sample.labels)


def looker(
    plan: Plan, samples: Sequence[Prepared], device: str = "cpu"
) -> Callable[[nn.Module], dict[str, float]]:
    """A function that scores a network on a spread of `samples`, without mirroring, for looks in between.

    It gives ``score`` (mean DSB score), ``ap50`` and ``ap75`` (means over images); of classes ``score`` alone
    (mean Dice over classes, then images).
    """
    few = spread(samples, LOOK_IMAGES)

    def look(network: nn.Module) -> dict[str, float]:
        model = _without_mirroring(plan, network, device)
        rows = []
        for sample in few:
            truth, maps = truth_of(sample), maps_of(model, sample, every_head=False)
            found = decode_to_shape(plan.representation, maps, plan.working_spacing, truth.shape)
            if plan.task == "semantic":
                rows.append(mean_dice(truth, found, plan.classes))
                continue
            counts = match_image(truth, found)
            ap = {count.threshold: count.ap for count in counts}
            rows.append((mean_ap(counts), ap[0.5], ap[0.75]))
        if plan.task == "semantic":
            return {"score": float(np.mean(rows))}
        score, ap50, ap75 = np.mean(rows, axis=0)
        return {"score": float(score), "ap50": float(ap50), "ap75": float(ap75)}

    return look


def seconds_per_image(plan: Plan, samples: Sequence[Prepared], device: str = "cpu") -> float:
    """Measured seconds that a look takes per image; 0 without images.

    The maps of an untrained network are noise and slow to decode: encoded labels are decoded in their place.
    """
    seconds = []
    probe = spread(samples, PROBE_IMAGES)
    with torch.random.fork_rng():
        model = _without_mirroring(plan, build_network(plan, device), device)
    # The first one compiles kernels.
    for sample in (*probe[:1], *probe):
        truth = truth_of(sample)
        ideal = plan.representation.encode(truth, plan.working_spacing)
        start = time.perf_counter()
        maps_of(model, sample, every_head=False)
        decode_to_shape(plan.representation, ideal, plan.working_spacing, truth.shape)
        seconds.append(time.perf_counter() - start)
    return float(np.mean(seconds[1:])) if probe else 0.0


def _without_mirroring(plan: Plan, network: nn.Module, device: str) -> Model:
    networks = (ready(network, plan.ndim, device),)
    return Model("validation", plan, networks, device, best_precision(device)).mirroring("none")


def collect_examples(
    samples: Sequence[SampleType],
    predict: Callable[[SampleType], Example],
    most_bytes: int,
    progress: Callable[[int, int], None],
) -> dict[str, Example]:
    """Maps and truth of as many samples as memory is set aside for, by id; one sample at least.

    Args:
        samples: Those that are left out are spread evenly over this list.
        predict: Gives the maps and the truth of one.
        most_bytes: Memory for all of them.
        progress: Called with samples done and all of them.
    """
    found: dict[str, Example] = {}
    left = most_bytes
    for sample in evenly(samples):
        maps, truth = predict(sample)
        left -= truth.nbytes + sum(array.nbytes for array in maps.values())
        if found and left < 0:
            progress(len(samples), len(samples))
            break
        found[sample.id] = (maps, truth)
        progress(len(found), len(samples))
    return found


def without_fold(model: Model, index: int) -> Model:
    """The one network of `model` that did not see fold `index`."""
    return replace(model, networks=(model.networks[index],))


def unseen(model: Model, index: int, id_: str) -> Model:
    """What of `model` did not see the image `id_`, which fold `index` held out."""
    scorer = None if model.scorer is None else model.scorer.without(id_)
    return replace(without_fold(model, index), scorer=scorer)
