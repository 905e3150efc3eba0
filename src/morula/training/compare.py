"""Several recipes, trained alike and scored on the same held-out fold.

::

    OUT/  split.json             the test images, and what the comparison is about
          runs/NAME[-SEED]/      the run folder of each recipe and seed
            test/labels/ID.tif   what it found in the test images
          comparison.json        scores, paired tests, the verdict
          comparison.csv         the scores as a table
          pictures/              crops on which the entrants disagree most
          report.html            all of it, to be looked at

A run is planned, trained, and its decoder tuned, without the test images: it selects the other folds, and
holds out validation images of its own from these. Finished runs and predictions are passed over, so that a
killed comparison goes on where it stopped.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import safe_open

from morula.data import splits
from morula.data.check import check
from morula.data.dataset import Dataset
from morula.data.files import write_text
from morula.data.formats import write_labels
from morula.data.lock import hold
from morula.data.outputs import claim
from morula.data.sample import Sample
from morula.errors import InputError
from morula.evaluation.comparison import Entrant, csv_text, score_contest, summarize_contest
from morula.evaluation.disputes import write_disputes
from morula.evaluation.pairing import predicted_files
from morula.evaluation.report import CompareReport, render_report
from morula.networks.count import cost
from morula.planning.budget import refuse_two_lengths
from morula.planning.fingerprint import Fingerprint, axes_of
from morula.planning.planner import parse_overrides, refuse_misfit
from morula.planning.rules import steps as usual_steps
from morula.planning.rules import working_zoom
from morula.planning.settings import check_settings
from morula.prediction.ensemble import check_device
from morula.prediction.model import Model
from morula.training.run import (
    Progress,
    Request,
    Run,
    as_told,
    folds_of,
    open_selected,
    silent,
    split,
    start_run,
)
from morula.training.train import train
from morula.types import PathLike

LEAST_SHARE = 1 / 3
"""A run of fewer of the steps that the planner gives to data without a budget counts as undertrained."""


@dataclass(frozen=True)
class Rules:
    """What is the same for every recipe."""

    data: str
    """Absolute path of the data set."""

    fold: int
    """The fold that is held out for testing."""

    budget_s: float | None
    """Time of each training; None: as many steps as each recipe plans."""

    overrides: tuple[str, ...]
    """``key=value``, set in every recipe."""

    seeds: int
    """Trainings of each recipe."""

    device: str
    """As torch names it."""


def compare(  # noqa: PLR0913 - each is an option of the verb
    data: PathLike,
    recipes: Sequence[str],
    out: PathLike,
    *,
    entries: Mapping[str, PathLike] | None = None,
    fold: int = 0,
    budget_s: float | None = None,
    overrides: Sequence[str] = (),
    select: Mapping[str, set[str]] | None = None,
    seeds: int = 1,
    device: str = "cpu",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train every recipe alike, predict a fold that none has seen, and score all of them beside each other.

    Args:
        data: The data set.
        recipes: Shipped recipes, or paths of TOML files of one's own.
        out: Receives runs, tables and the report; a comparison that was begun there goes on.
        entries: Folders of label files that other software made, by the name they get.
        fold: The test images: a fold of the index, or of five that are made.
        budget_s: Time to train in, for each run, in seconds; as each recipe plans when None.
        overrides: ``key=value`` pairs for the plan of every recipe.
        select: Index columns and the values wanted; all samples when None.
        seeds: Trainings of each recipe, with different weights at the start and other validation images.
        device: As torch names it.
        progress: Gives for each stage's name a function called with (done, total).

    Returns:
        What ``comparison.json`` holds; what failed is named under ``failed``, the others were compared.

    Raises:
        InputError: Nobody takes part or everybody failed, a bad option, or `out` compares something else or
            is being worked in.
    """
    check_device(device)
    data, out = Path(data), Path(out)
    folders = {name: Path(folder) for name, folder in (entries or {}).items()}
    named = _names(recipes, folders, seeds)
    rules = Rules(str(data.resolve()), fold, budget_s, tuple(overrides), seeds, device)
    wanted = {column: tuple(sorted(values)) for column, values in (select or {}).items()}
    dataset = as_told(open_selected(data, wanted), overrides)
    _check_rules(rules, recipes, dataset)
    claim(out, "a comparison of recipes")
    held_out = _hold_out(dataset, rules, wanted, out, progress)
    test = set(held_out["test"])
    samples = tuple(sample for sample in dataset.labelled if sample.id in test)
    job = _Job(rules, dataset, samples, held_out["select"], out, progress)
    with hold(out):
        entrants = [job.enter(name, recipe) for name, recipe in named.items()]
        entrants += [job.enter_labels(name, folder) for name, folder in folders.items()]
        return job.conclude([entrant for entrant in entrants if entrant is not None])


def _names(recipes: Sequence[str], entries: Mapping[str, Path], seeds: int) -> dict[str, str]:
    """Name in the table of every recipe; a file's is its stem.

    Raises:
        InputError: Nobody takes part, or two have one name.
    """
    if not recipes and not entries:
        msg = "nobody takes part: give recipes (morula recipes lists them), or label folders by --entry."
        raise InputError(msg)
    named: dict[str, str] = {}
    taken: set[str] = set(entries)
    for recipe in recipes:
        name = Path(recipe).stem if recipe.endswith(".toml") else recipe
        folders = {_folder(name, seed) for seed in range(seeds)}
        if folders & taken or name in taken:
            msg = f"two entrants are called {name!r}; give each a name of its own."
            raise InputError(msg)
        taken |= {*folders, name}
        named[name] = str(Path(recipe).resolve()) if recipe.endswith(".toml") else recipe
    return named


def _folder(name: str, seed: int) -> str:
    return f"{name}-{seed}" if seed else name


def _check_rules(rules: Rules, recipes: Sequence[str], dataset: Dataset) -> None:
    """Refuse at once what would fail after hours.

    Raises:
        InputError: Says what.
    """
    overrides = parse_overrides(rules.overrides)
    check_settings(overrides)
    ndim = axes_of(dataset) if recipes else None
    if ndim is not None:
        for recipe in recipes:
            refuse_misfit(recipe, overrides, ndim, dataset.task)
    refuse_two_lengths(rules.budget_s, overrides)
    if rules.seeds < 1:
        msg = f"{rules.seeds} seeds: expected 1 or more."
        raise InputError(msg)
    if rules.seeds > 1 and "seed" in overrides.get("training", {}):
        msg = "--seeds and --set training.seed both choose seeds; give one of the two."
        raise InputError(msg)


def _hold_out(
    dataset: Dataset, rules: Rules, wanted: dict[str, tuple[str, ...]], out: Path, progress: Progress
) -> dict[str, Any]:
    """The test images, and what selects the others; written to ``split.json`` once.

    Raises:
        InputError: No such fold, nothing left to train on, or `out` compares on other images; see `_sound`.
    """
    path = out / "split.json"
    asked = {"data": rules.data, "fold": rules.fold, "selected": {k: list(v) for k, v in wanted.items()}}
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
        if {key: known[key] for key in asked} != asked:
            msg = (
                f"{out} compares on other images (see its split.json). Choose a new folder with -o, or ask"
                f" again for fold {known['fold']} of {known['data']}."
            )
            raise InputError(msg)
        return known
    labelled = _sound(dataset, progress)
    test = set(split(labelled, Request(data=rules.data, fold=rules.fold), 0)[rules.fold])
    by_fold = splits.given_folds(labelled) is not None
    # The whole fold is held out, images of it without sound labels too: training selects folds as a whole.
    others = [s for s in dataset.samples if s.id not in test and not (by_fold and s.fold == rules.fold)]
    if not test or not any(sample.labels for sample in others):
        counts = f"{len(test)} images to test and {len(others)} to train on"
        msg = f"fold {rules.fold} leaves {counts}; expected labelled ones for both."
        raise InputError(msg)
    found = {**asked, "test": sorted(test), "select": {**asked["selected"], **_selection(others, by_fold)}}
    write_text(path, json.dumps(found, indent=1) + "\n")
    return found


def _sound(dataset: Dataset, progress: Progress) -> list[Sample]:
    """The labelled samples without errors, equal images in one group.

    Raises:
        InputError: The folds of the index leak, or it has only one.
    """
    report = check(dataset.root, progress=progress("check"))
    samples = splits.tie([s for s in dataset.samples if s.id not in report.unusable], report.duplicates)
    labelled = [sample for sample in samples if sample.labels]
    splits.refuse_leaks(labelled)
    numbers = {sample.fold for sample in labelled if sample.fold is not None}
    if len(numbers) == 1:
        msg = (
            f"the index names one fold only, {min(numbers)}; a comparison needs two or more, or none."
            " Select other folds too, or number the other images as well."
        )
        raise InputError(msg)
    return labelled


def _selection(others: Sequence[Sample], by_fold: bool) -> dict[str, list[str]]:
    """Columns and values that only the training images have: their folds if the index has any, else ids."""
    if not by_fold:
        return {"id": [sample.id for sample in others]}
    return {"fold": sorted({"" if sample.fold is None else str(sample.fold) for sample in others})}


@dataclass(frozen=True)
class _Job:
    """One call of `compare`: everything that the entrants have in common."""

    rules: Rules
    dataset: Dataset
    samples: tuple[Sample, ...]
    """The test images."""

    select: Mapping[str, Sequence[str]]
    """What selects the training images."""

    out: Path
    progress: Progress
    failed: dict[str, str] = field(default_factory=dict)

    def enter(self, name: str, recipe: str) -> Entrant | None:
        """Train and predict with every seed; None when no seed came to an end."""
        runs = [self.out / "runs" / _folder(name, seed) for seed in range(self.rules.seeds)]
        done = [run for seed, run in enumerate(runs) if self._finish(run, self._request(recipe, seed))]
        return Entrant(name, tuple(run / "test" for run in done), _facts(done, self.out)) if done else None

    def enter_labels(self, name: str, folder: Path) -> Entrant | None:
        """Labels that other software made; None when there are none."""
        try:
            predicted_files(folder)
        except InputError as error:
            self.failed[name] = str(error)
            return None
        return Entrant(name, (folder,))

    def conclude(self, entrants: Sequence[Entrant]) -> dict[str, Any]:
        """Score, test, draw, and write tables and report.

        Raises:
            InputError: There are no entrants, no image that all have, or `out` cannot be written.
        """
        if not entrants:
            first, why = next(iter(self.failed.items()))
            msg = f"nothing can be compared; {first}: {why}"
            raise InputError(msg)
        contest = score_contest(self.dataset, self.samples, entrants, self.progress("evaluate"))
        facts = {
            "kind": "compare",
            "version": version("morula"),
            **asdict(self.rules),
            "overrides": list(self.rules.overrides),
            "failed": self.failed,
        }
        comparison = {**facts, **summarize_contest(contest, entrants)}
        comparison["pictures"] = write_disputes(contest, entrants, self.dataset, self.out)
        write_text(self.out / "comparison.json", json.dumps(comparison, indent=1, allow_nan=False))
        write_text(self.out / "comparison.csv", csv_text(comparison))
        render_report(CompareReport.load(self.out), self.out / "report.html")
        return comparison

    def _request(self, recipe: str, seed: int) -> Request:
        chosen = (f"training.seed={seed}",) if seed else ()
        return Request(
            data=self.rules.data,
            recipe=recipe,
            overrides=(*self.rules.overrides, *chosen),
            select={column: tuple(values) for column, values in self.select.items()},
            budget_s=self.rules.budget_s,
        )

    def _finish(self, run: Path, request: Request) -> bool:
        """Do what is not done yet of a run; what goes wrong is noted, so that the others go on."""

        def of_run(stage: str) -> Callable[[int, int], None]:
            return self.progress(f"{run.name}: {stage}")

        try:
            start_run(run, request)
            # The report is the last thing that a training writes.
            if not (run / "report.html").exists():
                train(run, request, device=self.rules.device, progress=of_run)
            self._predict(run, of_run("predict"))
        except Exception as error:  # hours of the other recipes must not be lost
            self.failed[run.name] = _message(error)
            return False
        return True

    def _predict(self, run: Path, bar: Callable[[int, int], None]) -> None:
        """Labels of the test images that lack them.

        Raises:
            InputError: No image could be predicted.
        """
        paths = {sample.id: run / "test" / "labels" / f"{sample.id}.tif" for sample in self.samples}
        todo = [sample for sample in self.samples if not paths[sample.id].exists()]
        if not todo:
            return
        model, lost = Model.load(run, self.rules.device), {}
        for done, sample in enumerate(todo, 1):
            try:
                found = model.segment(self.dataset.image(sample), diameter_px="trained")
                write_labels(paths[sample.id], found.labels)
            except Exception as error:  # one bad image must not stop the others
                lost[f"{run.name}, {sample.id}"] = _message(error)
            bar(done, len(todo))
        if len(lost) == len(self.samples):
            raise InputError(next(iter(lost.values())))
        self.failed.update(lost)


def _message(error: Exception) -> str:
    # What is not the user's to mend is named by its kind, so that it can be reported.
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _facts(folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """What is known of a recipe's runs: effort as the mean over seeds, the rest of the first one."""
    first = Run(folders[0])
    plan, validation = first.plan(), {id_ for _, ids in folds_of(first) for id_ in ids}
    states = [_state(Run(folder)) for folder in folders]
    steps = sum(state["step"] for state in states) / len(states)
    patch, heads = plan.training.patch_size, plan.representation.heads(plan.ndim)
    seen = Fingerprint.load(first.fingerprint_path)
    zoom = working_zoom(seen, plan.scaling.model_dump())
    planned = usual_steps(seen, zoom, patch, plan.training.batch_size).value
    needed = cost(plan.network, len(plan.channels), heads, patch)
    return {
        "runs": [folder.relative_to(out).as_posix() for folder in folders],
        "recipe": plan.recipe,
        "network": plan.network.kind,
        "representation": plan.representation.kind,
        "parameters": needed.parameters,
        "gmac_per_megapixel": needed.multiply_adds / math.prod(patch) / 1000,
        "patch_size": list(patch),
        "batch_size": plan.training.batch_size,
        "steps": steps,
        "minutes": sum(state["seconds"] for state in states) / len(states) / 60,
        "planned_steps": planned,
        "undertrained": steps < LEAST_SHARE * planned,
        "n_training": len(first.labelled()) - len(validation),
        "n_validation": len(validation),
    }


def _state(run: Run) -> dict[str, Any]:
    """Steps and seconds of a training, as its last checkpoint says."""
    number, _ = folds_of(run)[0]
    with safe_open(run.fold(number) / "checkpoint.safetensors", framework="pt") as file:
        return json.loads(file.metadata()["state"])
