"""Learn which of many nested regions are the objects.

A candidate's target is the share of the IoU thresholds 0.50, 0.55, ... 0.95 that it passes with the true
object that it fits best. Validation images are dealt into a few groups; each perceptron learns from all
groups but one, and what it says of that one tells how good the choice is on images that it has not seen.
Training images are more, but their maps are too good: they teach beside the others where that helps.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor, nn

from morula.data.sample import Sample
from morula.data.splits import Folds, make_folds
from morula.decoding.region_features import FEATURES
from morula.decoding.regions import Regions
from morula.evaluation.metrics import match_image, mean_ap
from morula.labels.matching import DSB_THRESHOLDS
from morula.labels.overlap import overlap_table
from morula.prediction.scorer import FAR, Scorer, has_regions, regions_part
from morula.representations import Representation
from morula.representations.tuned import decoder_choices, with_values
from morula.training.validation import Example
from morula.types import Labels

GROUPS = 5
"""Groups of images; one perceptron is trained without each."""

FEWEST_REGIONS = 200
"""Candidates that every perceptron learns from, at least: fewer would be learnt by heart."""

LEAST = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
"""Qualities tried as the one below which objects are left out."""

HIDDEN, DROPOUT = 32, 0.1
BATCH, RATE, WEIGHT_DECAY = 512, 5e-3, 1e-2
STEPS, STEPS_TAUGHT = 1200, 3600
"""From validation images alone, and with training images."""

UNSEEN_WEIGHT = 3
"""Of a validation image beside a training image: its maps are like those to come."""


@dataclass(frozen=True)
class Lesson:
    """What is learnt from one image: its candidates that have annotated pixels."""

    features: Float32[np.ndarray, "n features"]
    quality: Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class Candidates:
    """The nested regions of one image with truth."""

    regions: Regions
    features: Float32[np.ndarray, "nodes_and_none features"]

    quality: Float64[np.ndarray, " nodes_and_none"]
    """The true one."""

    annotated: np.ndarray
    """Whether a region has annotated pixels, bool ``(nodes_and_none,)``."""

    truth: Labels

    @classmethod
    def of(cls, example: Example, representation: Representation) -> "Candidates":
        """From the maps and the truth of one image."""
        maps, truth = example
        part, own = regions_part(representation, maps)
        regions, features = part.regions(own)
        iou, annotated = best_iou(regions, truth)
        quality = (iou[:, None] >= DSB_THRESHOLDS).mean(1)
        return cls(regions, features, quality, annotated, truth)

    @property
    def lesson(self) -> Lesson:
        """What can be learnt from them."""
        return Lesson(self.features[self.annotated], self.quality[self.annotated])


@dataclass(frozen=True)
class Fitted:
    """A scorer and what it needs."""

    scorer: Scorer

    representation: Representation
    """Whose regions it chooses among."""


def deal(samples: Sequence[Sample], seed: int) -> Folds:
    """At most `GROUPS` groups of validation images; none where there is but one."""
    count = min(GROUPS, len({sample.group or sample.id for sample in samples}))
    return make_folds(samples, count, seed) if count > 1 else ()


def fit_scorer(
    examples: Mapping[str, Example],
    groups: Folds,
    representation: Representation,
    progress: Callable[[int, int], None],
    teachers: Sequence[Lesson] = (),
) -> Fitted | None:
    """A choice among the nested regions of a representation.

    Args:
        examples: Predicted maps and truth by id, of images that the network was not trained on.
        groups: Ids in groups that share no field of view, see `deal`.
        representation: With its tuned fields. Of a union the part that has regions is taken.
        progress: Called with perceptrons trained and all of them.
        teachers: Of training images, from which every perceptron learns too.

    Returns:
        None where the representation has no regions, or too few images or candidates.
    """
    nested = with_regions(representation)
    if nested is None:
        return None
    found = {id_: Candidates.of(example, nested) for id_, example in examples.items()}
    learnt = _learn(found, groups, teachers, progress)
    return None if learnt is None else Fitted(learnt, nested)


def _learn(
    found: Mapping[str, Candidates],
    groups: Folds,
    teachers: Sequence[Lesson],
    progress: Callable[[int, int], None],
) -> Scorer | None:
    others = [[each.lesson for id_, each in found.items() if id_ not in group] for group in groups]
    totals = [sum(len(each.quality) for each in (*teachers, *lessons)) for lessons in others]
    if min(totals, default=0) < FEWEST_REGIONS:
        return None
    members = []
    for number, lessons in enumerate(others):
        every = [*teachers, *UNSEEN_WEIGHT * lessons] if teachers else lessons
        members.append(_train(every, number, STEPS_TAUGHT if teachers else STEPS))
        progress(number + 1, len(groups))
    scorer = _join(members, groups)
    judged = {id_: scorer.without(id_).quality(each.features) for id_, each in found.items()}
    scores = {
        least: float(np.mean([_dsb(each, judged[id_], least) for id_, each in found.items()]))
        for least in LEAST
    }
    least = max(scores, key=scores.__getitem__)
    return replace(scorer, least=least, score=scores[least])


def choose_scorer(
    examples: Mapping[str, Example],
    groups: Folds,
    representation: Representation,
    known: Scorer | None,
    progress: Callable[[int, int], None],
    teachers: Sequence[Lesson] = (),
) -> Fitted | None:
    """The best on validation images: learnt from these alone, with training images, or there already.

    Args:
        examples: As for `fit_scorer`.
        groups: As for `fit_scorer`.
        representation: As for `fit_scorer`.
        known: Of the model that the training started from (fine-tuning), if it has one.
        progress: As for `fit_scorer`.
        teachers: As for `fit_scorer`.
    """
    nested = with_regions(representation)
    if nested is None:
        return None
    found = {id_: Candidates.of(example, nested) for id_, example in examples.items()}
    rounds = ((), teachers) if teachers else ((),)
    scorers = []
    for number, lessons in enumerate(rounds):

        def counted(done: int, total: int, before: int = number) -> None:
            progress(before * total + done, len(rounds) * total)

        scorers.append(_learn(found, groups, lessons, counted))
    if known is not None:
        scores = [
            _dsb(each, known.without(id_).quality(each.features), known.least) for id_, each in found.items()
        ]
        scorers.append(replace(known, score=float(np.mean(scores))))
    best = max(filter(None, scorers), key=lambda scorer: scorer.score, default=None)
    return None if best is None else Fitted(best, nested)


def with_regions(representation: Representation) -> Representation | None:
    """The representation, read back by the part that has regions; None without one."""
    choices = decoder_choices(representation)
    variants = [representation, *(with_values(representation, {"decoder": name}) for name in choices)]
    return next((each for each in variants if has_regions(each)), None)


def best_iou(regions: Regions, truth: Labels) -> tuple[Float64[np.ndarray, " nodes_and_none"], np.ndarray]:
    """The IoU of every region with the true object that it fits best, and whether any of it is annotated.

    Pixels that are not annotated count as if they were not there.

    Args:
        regions: Candidates.
        truth: ``(*spatial)``; -1 is not annotated.
    """
    table = overlap_table(truth, regions.fragments)
    sizes = np.zeros((len(regions.parents), 1))
    sizes[table.predicted_objects[0], 0] = table.predicted_objects[1]
    sizes = regions.gather(sizes)[:, 0]
    true_size = np.zeros(int(truth.max(initial=0)) + 1)
    true_size[table.truth_objects[0]] = table.truth_objects[1]
    pairs = table.is_object_pair
    node, other = table.predicted_ids[pairs].astype(np.int64), table.truth_ids[pairs].astype(np.int64)
    pixels = table.pixels[pairs]
    keys, counts = [], []
    while node.size:
        keys.append(node * len(true_size) + other)
        counts.append(pixels)
        node = regions.parents[node].astype(np.int64)
        node, other, pixels = node[node > 0], other[node > 0], pixels[node > 0]
    iou = np.zeros(len(sizes))
    if keys:
        key, which = np.unique(np.concatenate(keys), return_inverse=True)
        shared = np.bincount(which, np.concatenate(counts))
        node, other = np.divmod(key, len(true_size))
        np.maximum.at(iou, node, shared / (sizes[node] + true_size[other] - shared))
    return iou, sizes > 0


def _dsb(candidates: Candidates, quality: Float32[np.ndarray, " _"], least: float) -> float:
    labels, _ = candidates.regions.choose(quality, least)
    return mean_ap(match_image(candidates.truth, labels))


def _network(n_features: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_features, HIDDEN),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, 1),
    )


def _train(lessons: Sequence[Lesson], seed: int, steps: int) -> dict[str, np.ndarray]:
    """Mean, scale, weights and offsets of one perceptron."""
    features = np.concatenate([each.features for each in lessons])
    target = np.concatenate([each.quality for each in lessons])
    # Between "every region alike" and "every image alike".
    sizes = np.array([len(each.quality) for each in lessons])
    weight = np.repeat(np.maximum(sizes, 1) ** -0.5, sizes)
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    standardised = np.clip((features - mean) / deviation, -FAR, FAR)
    x, y, w = (
        torch.as_tensor(array, dtype=torch.float32)
        for array in (standardised, target, weight / weight.mean())
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _fit(_network(x.shape[1]), (x, y, w), steps)
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    arrays = {"mean": mean, "scale": 1 / deviation}
    for i, layer in enumerate(layers):
        arrays[f"weights_{i}"] = layer.weight.detach().numpy().T
        arrays[f"offsets_{i}"] = layer.bias.detach().numpy()
    return arrays


def _fit(network: nn.Sequential, data: tuple[Tensor, Tensor, Tensor], steps: int) -> nn.Sequential:
    x, y, weight = data
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    error = nn.BCEWithLogitsLoss(reduction="none")
    for _ in range(steps):
        batch = torch.randint(len(x), (BATCH,))
        loss = (error(network(x[batch])[:, 0], y[batch]) * weight[batch]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network


def seconds_to_learn(*, taught: bool) -> float:
    """Measured time that `choose_scorer` spends on all its perceptrons."""
    trial = 50
    x, y = torch.rand(BATCH, len(FEATURES)), torch.rand(BATCH)
    with torch.random.fork_rng(devices=[]):
        start = time.perf_counter()
        _fit(_network(x.shape[1]), (x, y, y), trial)
        step = (time.perf_counter() - start) / trial
    return GROUPS * (STEPS + STEPS_TAUGHT * taught) * step


def _join(members: Sequence[Mapping[str, np.ndarray]], groups: Folds) -> Scorer:
    def stacked(name: str) -> np.ndarray:
        return np.stack([member[name] for member in members]).astype(np.float32)

    count = sum(name.startswith("weights") for name in members[0])
    layers = tuple((stacked(f"weights_{i}"), stacked(f"offsets_{i}")) for i in range(count))
    return Scorer(stacked("mean"), stacked("scale"), layers, 0.0, groups)
