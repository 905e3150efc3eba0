"""Self-training: a model labels unlabelled images, and students are trained on these too.

::

    OUT/  selftrain.toml     what was asked for
          reliability.csv    ``st++``: how stable the predictions of each unlabelled image were
          pseudo_K/          data set of the images that were labelled for round K
          round_K/           run folder of every round but the last
          rounds.json        scores on the validation images before and after each round
          ...                the run folder of the last round: OUT is the model

``iterative`` (system A; Lee 2013): the teacher labels all unlabelled images; the student begins with its
weights, is trained on labelled and pseudo-labelled images, and is the next teacher. ``st++`` (system D; Yang
et al. 2022, https://arxiv.org/abs/2106.05095): first only the half of the images on which the checkpoints of
the teacher's training agree best, then all; each student begins afresh, with strong augmentation.

Each step is one function that passes over what lies there already, so that a killed call goes on.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from morula.data.dataset import Dataset
from morula.data.files import write_text
from morula.data.lock import hold
from morula.data.outputs import claim
from morula.data.sample import Sample
from morula.errors import InputError
from morula.evaluation.reliability import (
    Reliability,
    agreement,
    most_reliable,
    read_reliability,
    write_reliability,
)
from morula.evaluation.report import render_report
from morula.evaluation.report_train import TrainReport
from morula.evaluation.statistics import paired_test
from morula.planning.budget import refuse_two_lengths
from morula.planning.plan import Plan
from morula.planning.planner import parse_overrides
from morula.planning.retraining import Method, plan_round
from morula.prediction.ensemble import check_device
from morula.prediction.model import Model
from morula.prediction.shipped import refuse_shipped_name
from morula.spec import Spec, dump_toml, read_reasons, read_toml, validate
from morula.training.pseudo import count_labelled, find_unlabelled, label_images
from morula.training.run import Progress, Run, folds_of, silent
from morula.training.train import train
from morula.types import PathLike

SHARE = 0.5
"""Part of the unlabelled images that ST++ trusts first (Yang et al. 2022, section 4.1)."""

ROUNDS = 2
"""Rounds unless asked otherwise; ``st++`` has two by its nature."""

SAVE_SECONDS = 30.0
"""Time between two writings of the growing table of reliabilities."""

SCORES = ("dsb", "ap_50", "ap_75", "f1_50", "dice")
"""Validation scores of each round that are kept together."""


class SelftrainRequest(Spec, frozen=True):
    """What the user asked for."""

    teacher: str
    """Absolute path of a finished run."""

    unlabelled: tuple[str, ...] = ()
    """Absolute paths of files and folders of images; none: the unlabelled images of the run's data set."""

    method: Method = "iterative"
    """How."""

    rounds: int = ROUNDS
    """How many students are trained, one after the other."""

    budget_s: float | None = None
    """Wall time for training all of them, in seconds."""

    overrides: tuple[str, ...] = ()
    """``key=value``, as in ``--set``."""


@dataclass(frozen=True)
class SelftrainSummary:
    """What self-training came to."""

    run: Path
    """The run folder of the last round: it is the model."""

    facts: dict[str, Any]
    """As in ``rounds.json``."""

    failed: dict[str, str]
    """Unlabelled images that could not be read or predicted, and why."""


@dataclass(frozen=True)
class _Work:
    """One call: what is asked for, and with what."""

    out: Path
    request: SelftrainRequest
    device: str
    progress: Progress

    @property
    def teacher(self) -> Run:
        return Run(Path(self.request.teacher))

    @cached_property
    def dataset(self) -> Dataset:
        return self.teacher.dataset()

    def pseudo(self, number: int) -> Path:
        return self.out / f"pseudo_{number}"

    def folder(self, number: int) -> Path:
        return self.out if number == self.request.rounds else self.out / f"round_{number}"


def selftrain(
    out: PathLike, request: SelftrainRequest, *, device: str = "cpu", progress: Progress = silent
) -> SelftrainSummary:
    """Train students on labelled and pseudo-labelled images, or go on exactly where an earlier call stopped.

    The validation images are those of the teacher; neither they nor files of equal bytes are pseudo-labelled.

    Args:
        out: Run folder of the last student.
        request: What is asked for.
        device: As torch names it.
        progress: Gives for each stage's name a function called with (done, total).

    Raises:
        InputError: The teacher is not finished or kept no snapshots (``st++``), there is nothing to label,
            a bad option, or `out` holds something that was asked for differently.
    """
    check_device(device)
    out = Path(out)
    work = _Work(out.resolve(), request, device, progress)
    _check(request)
    images = find_unlabelled(work.teacher, [Path(path) for path in request.unlabelled])
    _start(work)
    # The training of the last round holds `out` as every training does.
    with hold(out, ".selftrain.lock"):
        failed = _run_rounds(work, images)
        facts = _round_facts(work)
        write_text(out / "rounds.json", json.dumps(facts, indent=1) + "\n")
        render_report(TrainReport.load(out), out / "report.html")
    return SelftrainSummary(out, facts, failed)


def _run_rounds(work: _Work, images: Mapping[str, Sample]) -> dict[str, str]:
    """Label and train, round after round; gives the images that failed."""
    shares, failed = _shares(work, images)
    model = work.teacher.folder
    for number, share in enumerate(shares, 1):
        if work.request.method == "st++" and number > 1:
            model = better(work.teacher.folder, model)
        bar = work.progress(f"label {number}")
        failed |= label_images(share, work.dataset, model, work.pseudo(number), work.device, bar)
        _train_round(work, number, model)
        model = work.folder(number)
    return failed


def snapshots_of(run: Run) -> tuple[str, ...]:
    """Names of the weights that `run` kept on the way, in the order of the training, the same in every fold.

    Raises:
        InputError: It kept fewer than two.
    """
    names = [{path.stem for path in run.fold(number).glob("snapshot_*")} for number, _ in folds_of(run)]
    shared = sorted(set.intersection(*names), key=lambda name: int(name.removeprefix("snapshot_")))
    if len(shared) < 2:
        msg = (
            f"{run.folder} kept {len(shared)} checkpoints on the way, st++ compares two or more. Train it"
            " anew with --set training.snapshots=3, or use --method iterative."
        )
        raise InputError(msg)
    return tuple(shared)


def better(teacher: Path, student: Path) -> Path:
    """The run with the higher score (DSB; of classes: Dice) on validation images; in doubt the student."""
    tables = [_metrics(run).get("scores", {}) for run in (teacher, student)]
    scores = [table.get("dsb", table.get("dice", {})).get("value") for table in tables]
    return teacher if None not in scores and scores[0] > scores[1] else student


def _check(request: SelftrainRequest) -> None:
    """Refuse what would only show after hours.

    Raises:
        InputError: Says what.
    """
    teacher = Run(Path(request.teacher))
    teacher.request()
    if not (teacher.folder / "report.html").exists():
        msg = (
            f"the training of {teacher.folder} is not finished. Go on with it: morula train {teacher.folder}"
        )
        raise InputError(msg)
    overrides = parse_overrides(request.overrides)
    plan_round(teacher.plan(), request.method, overrides)
    refuse_two_lengths(request.budget_s, overrides)
    if request.method == "st++":
        snapshots_of(teacher)
        if request.rounds != ROUNDS:
            msg = f"--rounds {request.rounds}: st++ has {ROUNDS} rounds, stable images and then all of them."
            raise InputError(msg)


def _start(work: _Work) -> None:
    """Note what is asked for, and make the first folder.

    Raises:
        InputError: The folder holds something else.
    """
    path = work.out / "selftrain.toml"
    if path.exists():
        if validate(SelftrainRequest, read_toml(path)) != work.request:
            msg = (
                f"{work.out} was asked for differently (see its selftrain.toml); choose a new folder with -o."
            )
            raise InputError(msg)
    elif (work.out / "request.toml").exists() or (work.out / "plan.toml").exists():
        msg = f"{work.out} holds a model already; choose a new folder with -o."
        raise InputError(msg)
    else:
        refuse_shipped_name(work.out)
        claim(work.out, "a training run")
        write_text(path, dump_toml(work.request.model_dump(exclude_none=True)))
    work.pseudo(1).mkdir(exist_ok=True)


def _shares(work: _Work, images: Mapping[str, Sample]) -> tuple[list[dict[str, Sample]], dict[str, str]]:
    """The images that each round labels, and those that could not be predicted.

    Raises:
        InputError: Too few images for `st++`.
    """
    if work.request.method == "iterative":
        return [dict(images)] * work.request.rounds, {}
    rows = _measure(work, images)
    first, rest = most_reliable(rows, SHARE)
    if not rest:
        msg = f"st++ needs two readable unlabelled images or more; found {len(first)} of {len(images)}."
        raise InputError(msg)
    failed = {str(images[row.image].image[0]): row.failure for row in rows if row.failure}
    return [{name: images[name] for name in names} for names in (first, rest)], failed


def _measure(work: _Work, images: Mapping[str, Sample]) -> list[Reliability]:
    """Step 2 of ST++: how well the checkpoints of the teacher's training agree on each image."""
    path = work.out / "reliability.csv"
    rows = [row for row in read_reliability(path) if row.image in images]
    done = {row.image for row in rows}
    todo = [name for name in images if name not in done]
    if not todo:
        return rows
    models = [_snapshot(work, name) for name in snapshots_of(work.teacher)]
    bar, saved = work.progress("reliability"), time.monotonic()
    for count, name in enumerate(todo, len(done) + 1):
        rows.append(_reliability(work.dataset, models, images[name]))
        bar(count, len(images))
        if time.monotonic() - saved > SAVE_SECONDS:
            write_reliability(path, rows)
            saved = time.monotonic()
    write_reliability(path, rows)
    # As it is read again: the same shares, killed or not.
    return read_reliability(path)


def _snapshot(work: _Work, name: str) -> Model:
    """A checkpoint, without mirroring: its predictions are only compared."""
    return Model.load(work.teacher.folder, work.device, name).mirroring("none")


def _reliability(dataset: Dataset, models: Sequence[Model], sample: Sample) -> Reliability:
    try:
        image = dataset.image(sample)
        predictions = [model.segment(image, diameter_px="trained").labels for model in models]
    except InputError as error:
        return Reliability(sample.id, failure=str(error))
    objects = int(np.unique(predictions[-1][predictions[-1] > 0]).size)
    return Reliability(sample.id, agreement(predictions), objects)


def _train_round(work: _Work, number: int, model: Path) -> None:
    """Train the student of a round as any run is trained; what is prepared for it is dropped afterwards."""
    folder = work.folder(number)
    if (folder / "report.html").exists():
        return
    _plan_student(work, number, model)
    train(folder, device=work.device, progress=work.progress)
    if folder != work.out:
        for name in ("prepared", "prepared_pseudo"):
            shutil.rmtree(folder / name, ignore_errors=True)


def _plan_student(work: _Work, number: int, model: Path) -> None:
    """Write a planned run: the teacher's request, facts and validation images, and its own plan.

    Raises:
        InputError: No object was found in any unlabelled image.
    """
    student, teacher, asked = Run(work.folder(number)), work.teacher, work.request
    if student.plan_path.exists():
        return
    goes_on = asked.method == "iterative"
    labelled = [work.pseudo(k) for k in ([number] if goes_on else range(1, number + 1))]
    pseudo = [folder for folder in labelled if count_labelled(folder)]
    if not pseudo:
        record = work.pseudo(number) / "run.json"
        msg = (
            f"{model} found no object in any unlabelled image ({record} says how each fared). Train the"
            " teacher longer or on more labelled images, and choose a new folder with -o."
        )
        raise InputError(msg)
    # How the data are to be understood may have been told by --set; how to train is told anew.
    told = [pair for pair in teacher.request().overrides if not pair.strip().startswith("training")]
    request = teacher.request().model_copy(
        update={
            "overrides": (*told, *asked.overrides),
            "budget_s": None if asked.budget_s is None else asked.budget_s / asked.rounds,
            "start_from": str(model.resolve()) if goes_on else teacher.request().start_from,
            "pseudo": tuple(map(str, pseudo)),
        }
    )
    for path in (teacher.check_path, teacher.fingerprint_path, teacher.splits_path):
        write_text(student.folder / path.name, path.read_text(encoding="utf-8"))
    write_text(student.request_path, dump_toml(request.model_dump(exclude_none=True)))
    plan, reasons = plan_round(teacher.plan(), asked.method, parse_overrides(asked.overrides))
    before = read_reasons(teacher.plan_path.read_text(encoding="utf-8"))
    write_text(student.plan_path, plan.dumps(before | reasons))


def _round_facts(work: _Work) -> dict[str, Any]:
    """Images and validation scores of the teacher and every student, and a test of the last one."""
    runs = {"teacher": work.teacher.folder}
    runs |= {f"round {k}": work.folder(k) for k in range(1, work.request.rounds + 1)}
    rows = []
    for name, folder in runs.items():
        run = Run(folder)
        scores = _metrics(folder).get("scores", {})
        rows.append(
            {
                "name": name,
                "run": str(folder),
                "n_labelled": len(run.labelled()),
                "n_validation": len({id_ for _, ids in folds_of(run) for id_ in ids}),
                "n_pseudo": sum(count_labelled(Path(place)) for place in run.request().pseudo),
                "steps": Plan.load(run.plan_path).training.steps,
                "scores": {key: scores[key] for key in SCORES if key in scores},
            }
        )
    return {"method": work.request.method, "rounds": rows, "gain": _gain(work)}


def _gain(work: _Work) -> dict[str, Any] | None:
    """Score of the last student minus the teacher's, on the validation images; None without any."""
    score = "dice" if work.teacher.plan().task == "semantic" else "dsb"
    before, after = (
        {row["id"]: row[score] for row in _metrics(folder).get("images", []) if row[score] is not None}
        for folder in (work.teacher.folder, work.out)
    )
    both = sorted(before.keys() & after.keys())
    if not both:
        return None
    ones = np.ones(len(both))
    first, second = (np.array([scores[name] for name in both]) for scores in (after, before))
    test = paired_test((first, ones), (second, ones))
    values = {"difference": test.difference, "low": test.low, "high": test.high, "p_value": test.p_value}
    return {"score": score, **{name: float(value) for name, value in values.items()}}


def _metrics(folder: Path) -> dict[str, Any]:
    path = folder / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
