"""Adapt a model's decoder to other labelled images; its network stays as it is."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from morula.data.check import check
from morula.data.dataset import Dataset
from morula.data.files import write_atomic, write_text
from morula.data.outputs import claim
from morula.data.sample import Sample
from morula.data.splits import Folds, make_folds, tie
from morula.errors import InputError
from morula.evaluation.evaluate import score_pairs
from morula.evaluation.summary import DEFINITIONS
from morula.evaluation.tuning import tune, write_tuned
from morula.planning.modality import appearance
from morula.prediction.calibration import Calibration
from morula.prediction.int8 import Ranges
from morula.prediction.large import cut_blocks, decode_blocks
from morula.prediction.model import Model
from morula.prediction.reliability import Row, Scored, calibrate
from morula.prediction.scorer import Scorer
from morula.prediction.segmentation import Segmentation
from morula.prediction.shipped import find_folder, refuse_shipped_name, weight_files
from morula.preprocessing.geometry import select_channels
from morula.preprocessing.prepare import to_working_grid
from morula.representations import Representation
from morula.training.run import Progress, open_selected, silent
from morula.training.scorer import deal, fit_scorer
from morula.training.validation import TUNE_BYTES, Example, collect_examples, spread
from morula.types import Labels, Maps, Spacing

SHOWN = ("dsb", "ap_50", "ap_75", "ap_90", "f1_50")
"""Scores of the summary."""


@dataclass(frozen=True)
class TuneSummary:
    """What tuning came to."""

    model: Path
    """The new model folder."""

    n_images: int
    """Images that it was tuned and scored on: those whose maps fit into memory, spread over the data."""

    n_labelled: int
    """All sound labelled images."""

    before: dict[str, Any]
    """Scores with the decoder as it was, as in ``metrics.json``."""

    after: dict[str, Any]
    """Scores with the new decoder, each image by one that was tuned without it."""

    how: str
    """What decodes now, in words."""

    @property
    def rows(self) -> list[tuple[str, float, float]]:
        """Label, score before and after, for a table."""
        return [
            (
                DEFINITIONS[name].label,
                self.before["scores"][name]["value"],
                self.after["scores"][name]["value"],
            )
            for name in SHOWN
        ]


def tune_model(
    model: str | Path,
    data: Path,
    out: Path,
    *,
    select: Mapping[str, set[str]] | None = None,
    device: str = "cpu",
    progress: Progress = silent,
) -> TuneSummary:
    """Tune the decoder's fields on labelled images and write the model with them to `out`.

    The fields that are kept are tuned on all images. What is reported is cross-fitted: the images are split
    into two halves by group, and each half is scored with the fields that the other half chose. The tuned
    decoder competes with the model's own choice among nested regions (`morula.prediction.scorer`), and with
    one that is learnt from these images, cross-fitted too; the best of them is kept.

    Args:
        model: A shipped model or a run folder.
        data: Labelled images that the network was not trained on.
        out: New model folder.
        select: Index column to accepted values.
        device: As torch names it.
        progress: Gives for each stage's name a function called with (done, total).

    Raises:
        InputError: No such model or one of classes, fewer than two groups of sound labelled images, or `out`
            holds a model, or something else.
    """
    source = find_folder(model)
    if (out / "plan.toml").exists():
        msg = f"{out} holds a model already; choose a new folder with -o."
        raise InputError(msg)
    refuse_shipped_name(out)
    claim(out, "a model")
    loaded = Model.load(source, device)
    if loaded.plan.task == "semantic":
        msg = f"{source} finds classes, whose decoder has nothing to tune. Fine-tune it: morula train --from"
        raise InputError(msg)
    dataset = open_selected(data, {key: tuple(sorted(values)) for key, values in (select or {}).items()})
    report = check(data, progress=progress("check"))
    samples = [sample for sample in dataset.labelled if sample.id not in report.unusable]
    if not samples:
        msg = f"{data} holds no labelled image without errors; tuning needs images with labels, two or more."
        raise InputError(msg)
    halves = make_folds(tie(samples, report.duplicates), 2, loaded.plan.training.seed)
    kept = _examples(loaded, dataset, samples, halves, progress)
    examples = kept[0] | kept[1]
    plan = loaded.plan
    spacing, start = plan.working_spacing, plan.representation
    halved: dict[str, Decoder] = {}
    for part, (half, other) in enumerate((kept, kept[::-1]), 1):
        fitted, _ = tune(start, other.values(), spacing, progress(f"tune, half {part}"))
        halved |= dict.fromkeys(half, Decoder(fitted, spacing))
    final, trials = tune(start, list(examples.values()), spacing, progress("tune"))
    own = Decoder(start, spacing, loaded.scorer)
    groups = deal([sample for sample in samples if sample.id in examples], plan.training.seed)
    may_choose = plan.inference.scorer
    learnt = fit_scorer(examples, groups, final, progress("learn to choose")) if may_choose else None
    entrants = [("tuned thresholds", Decoder(final, spacing), halved)]
    if loaded.scorer is not None:
        entrants.append(("the model's own choice among regions", own, dict.fromkeys(examples, own)))
    if learnt is not None:
        every = Decoder(learnt.representation, spacing, learnt.scorer)
        entrants.append(
            ("a choice among regions, learnt anew", every, {id_: every.without(id_) for id_ in examples})
        )
    scores = [_scores(examples, samples, decoders) for _, _, decoders in entrants]
    best = max(range(len(entrants)), key=lambda i: scores[i]["scores"]["dsb"]["value"])
    how, decoder, decoders = entrants[best]
    before = _scores(examples, samples, dict.fromkeys(examples, own))
    summary = TuneSummary(out, len(examples), len(samples), before, scores[best], how)
    # The decoder is for images of this kind: they are no longer unlike those that were seen.
    known = loaded.calibration.seen if loaded.calibration else ()
    looks = [appearance(select_channels(dataset.image(s), plan.channels)) for s in samples]
    fair = decoders if decoder.scorer else dict.fromkeys(examples, decoder)
    curve = _calibrate(examples, fair, [*known, *looks])
    _write(source, out, (decoder, curve), trials, summary)
    return summary


@dataclass(frozen=True)
class Decoder:
    """From maps to instances."""

    representation: Representation
    spacing: Spacing
    scorer: Scorer | None = None

    def __call__(self, maps: Maps, shape: tuple[int, ...]) -> Segmentation:
        """Instances of an image of this spatial shape, and their scores."""
        whole = cut_blocks(shape, 0, 1, whole=math.prod(shape))
        return decode_blocks(iter([(0, maps)]), whole, shape, self.representation, self.spacing, self.scorer)

    def without(self, id_: str) -> "Decoder":
        """What of it has not seen the image `id_`."""
        return replace(self, scorer=self.scorer.without(id_) if self.scorer else None)


def _calibrate(
    examples: Mapping[str, Example], decoders: Mapping[str, Decoder], seen: Sequence[Row]
) -> Calibration | None:
    """What an object's score means under the new decoder."""
    found = [Scored.of(truth, decoders[id_](maps, truth.shape)) for id_, (maps, truth) in examples.items()]
    return calibrate(found, seen)


def _examples(
    model: Model, dataset: Dataset, samples: Sequence[Sample], halves: Folds, progress: Progress
) -> list[dict[str, Example]]:
    """Maps and truth of each half's samples, by id, as far as memory is set aside for them."""

    def predict(sample: Sample) -> Example:
        pixels, truth = to_working_grid(dataset.image(sample), dataset.labels(sample), model.plan)
        return model.maps_of(pixels), cast("Labels", truth)

    ordered = spread(samples, len(samples))
    kept = []
    for part, half in enumerate(halves, 1):
        own = [sample for sample in ordered if sample.id in half]
        kept.append(collect_examples(own, predict, TUNE_BYTES // 2, progress(f"predict, half {part}")))
    return kept


def _scores(
    examples: Mapping[str, Example],
    samples: Sequence[Sample],
    decoders: Mapping[str, Decoder],
) -> dict[str, Any]:
    attributes = {sample.id: dict(sample.attributes) for sample in samples}
    return score_pairs(
        (name, truth, decoders[name](maps, truth.shape).labels, attributes[name])
        for name, (maps, truth) in examples.items()
    )


def _write(
    source: Path,
    out: Path,
    final: tuple[Decoder, Calibration | None],
    trials: list[Any],
    summary: TuneSummary,
) -> None:
    """The model folder; ``plan.toml`` comes last, because it makes the folder a model."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path in weight_files(source):
            target = out / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            with write_atomic(target) as temporary:
                shutil.copyfile(path, temporary)
            ranges = Ranges.load(path)
            if ranges is not None:
                ranges.save(target)
        decoder, curve = final
        write_tuned(out / "tuned.toml", decoder.representation)
        if decoder.scorer is not None:
            decoder.scorer.save(out)
        if curve is not None:
            curve.save(out)
        facts = {"before": summary.before, "after": summary.after}
        for name, content in (("metrics.json", facts), ("tuning.json", trials)):
            write_text(out / name, json.dumps(content, indent=1) + "\n")
        with write_atomic(out / "plan.toml") as temporary:
            shutil.copyfile(source / "plan.toml", temporary)
    except OSError as error:
        msg = f"{out} cannot be written: {error}. Free space or choose another folder."
        raise InputError(msg) from error
