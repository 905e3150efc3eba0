"""How good a network is on prepared images that it was not trained on."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from morula.evaluation.metrics import match_image, mean_ap
from morula.planning.plan import Plan
from morula.prediction.confidence import needed_heads
from morula.prediction.ensemble import best_precision, ready
from morula.prediction.model import Model
from morula.preprocessing.prepare import Prepared
from morula.representations import decode_to_shape
from morula.types import Labels, Maps

LOOK_IMAGES = 40
"""Validation images of a look during training; the final evaluation takes all of them."""


def spread(samples: Sequence[Prepared], most: int) -> tuple[Prepared, ...]:
    """At most `most` samples, evenly over the list sorted by modality and id."""
    ordered = sorted(samples, key=lambda sample: (sample.modality, sample.id))
    if len(ordered) <= most:
        return tuple(ordered)
    chosen = np.linspace(0, len(ordered) - 1, most).round().astype(int)
    return tuple(ordered[index] for index in chosen)


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

    It gives ``score`` (mean DSB score), ``ap50`` and ``ap75`` (means over images).
    """
    few = spread(samples, LOOK_IMAGES)
    quick = plan.model_copy(update={"inference": plan.inference.model_copy(update={"mirror": False})})

    def look(network: nn.Module) -> dict[str, float]:
        folded = ready(network, plan.ndim, device)
        model = Model("validation", quick, (folded,), device, best_precision(device))
        rows = []
        for sample in few:
            truth, maps = truth_of(sample), maps_of(model, sample, every_head=False)
            found = decode_to_shape(plan.representation, maps, plan.working_spacing, truth.shape)
            counts = match_image(truth, found)
            ap = {count.threshold: count.ap for count in counts}
            rows.append((mean_ap(counts), ap[0.5], ap[0.75]))
        score, ap50, ap75 = np.mean(rows, axis=0)
        return {"score": float(score), "ap50": float(ap50), "ap75": float(ap75)}

    return look


def without_fold(model: Model, index: int) -> Model:
    """The one network of `model` that did not see fold `index`."""
    return replace(model, networks=(model.networks[index],))
