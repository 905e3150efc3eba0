"""The decoder of a run: chosen in the end, on validation images."""

import json
from collections.abc import Sequence

import numpy as np

from morula.data.files import write_text
from morula.evaluation.tuning import tune, write_tuned
from morula.prediction.model import Model
from morula.prediction.scorer import Scorer, has_regions
from morula.prediction.shipped import SCORER, find_folder
from morula.preprocessing.prepare import Prepared
from morula.representations import Representation
from morula.training.run import Progress, Run, folds_of, silent
from morula.training.scorer import Candidates, Lesson, choose_scorer, deal, with_regions
from morula.training.validation import (
    TUNE_BYTES,
    TUNE_IMAGES,
    Example,
    collect_examples,
    evenly,
    maps_of,
    spread,
    truth_of,
    without_fold,
)

TEACH_SHARE = 0.05
"""Pixels of training images that a scorer learns from, as a share of those that the network learnt from."""


def inherit_scorer(run: Run) -> None:
    """A fine-tuning begins with the scorer of its model, as it does with its weights."""
    name = run.request().start_from
    begun = (run.folder / "tuned.toml").exists() or any(run.folder.glob("fold_*/checkpoint.safetensors"))
    plan = run.plan()
    if name is None or begun or not (plan.inference.scorer and has_regions(plan.representation)):
        return
    scorer = Scorer.load(find_folder(name))
    if scorer is not None:
        scorer.save(run.folder)


def tune_run(run: Run, prepared: Sequence[Prepared], device: str, progress: Progress) -> None:
    """Choose decoder and thresholds on the images that each network did not see."""
    if (run.folder / "tuned.toml").exists() or run.plan().task == "semantic":
        return
    model = Model.load(run.folder, device)
    plan = model.plan
    examples = tuning_examples(run, model, prepared, progress)
    if not examples:
        return
    best, trials = tune(plan.representation, examples.values(), plan.working_spacing, progress("tune"))
    write_text(run.folder / "tuning.json", json.dumps(trials) + "\n")
    if plan.inference.scorer:
        samples = [sample for sample in run.labelled() if sample.id in examples]
        groups = deal(samples, plan.training.seed)
        known = Scorer.load(run.folder)
        lessons = list(teachers(run, model, prepared, best, progress).values())
        scored = choose_scorer(examples, groups, best, known, progress("learn to choose"), lessons)
        if scored is not None and scored.scorer.score > max(trial["dsb"] for trial in trials):
            scored.scorer.save(run.folder)
            best = scored.representation
        else:
            (run.folder / SCORER).unlink(missing_ok=True)
    write_tuned(run.folder / "tuned.toml", best)


def tuning_examples(
    run: Run, model: Model, prepared: Sequence[Prepared], progress: Progress = silent
) -> dict[str, Example]:
    """Maps and truth by id of validation images, evenly spread: each by the network that did not see it."""
    folds = [(i, ids) for i, (_, ids) in enumerate(folds_of(run)) if ids]
    examples: dict[str, Example] = {}
    for index, ids in folds:
        own = without_fold(model, index)

        def predict(sample: Prepared, own: Model = own) -> Example:
            return maps_of(own, sample, every_head=True), truth_of(sample)

        most = max(1, TUNE_IMAGES // len(folds))
        chosen = spread([sample for sample in prepared if sample.id in ids], most)
        examples |= collect_examples(chosen, predict, TUNE_BYTES // len(folds), progress("predict"))
    return examples


def teachers(
    run: Run,
    model: Model,
    prepared: Sequence[Prepared],
    representation: Representation,
    progress: Progress = silent,
) -> dict[str, Lesson]:
    """What a scorer learns, by id, from images that every network of the run learnt from.

    Args:
        run: Its folds say which images these are.
        model: Its networks.
        prepared: The run's labelled images.
        representation: With its tuned fields.
        progress: As for `train`.
    """
    nested = with_regions(representation)
    held_out = {id_ for _, ids in folds_of(run) for id_ in ids}
    seen = [sample for sample in prepared if sample.id not in held_out]
    if nested is None or not seen:
        return {}
    training, show = model.plan.training, progress("predict training images")
    lessons: dict[str, Lesson] = {}
    left = TEACH_SHARE * training.steps * training.batch_size * float(np.prod(training.patch_size))
    for done, sample in enumerate(evenly(spread(seen, len(seen))), 1):
        truth = truth_of(sample)
        if truth.size > left:
            continue
        left -= truth.size
        lessons[sample.id] = Candidates.of((maps_of(model, sample, every_head=True), truth), nested).lesson
        show(done, len(seen))
    show(len(seen), len(seen))
    return lessons
