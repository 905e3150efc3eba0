"""The run folder: what was asked for, what was decided, and where everything lies.

::

    RUN/  request.toml       what the user asked for: data, recipe, folds, budget
          check.json         what the doctor found
          fingerprint.json   the facts
          plan.toml          the decisions, each with its reason
          splits.json        validation ids per fold
          prepared/          arrays on the working grid; may be deleted after training
          fold_K/            weights, checkpoint and journal of each fold
          .lock              held by the process that works here
          tuned.toml         decoder fields chosen on validation images
          metrics.json       scores on validation images
          report.html        all of it, to be looked at
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import Field

from morula.data import splits
from morula.data.check import check
from morula.data.dataset import Dataset
from morula.data.files import make_folder, write_text
from morula.data.index import Description
from morula.data.layouts import open_dataset
from morula.data.lock import hold
from morula.data.outputs import claim
from morula.data.problems import Problem
from morula.data.sample import Sample
from morula.errors import InputError
from morula.planning.budget import refuse_two_lengths
from morula.planning.ceiling import measure_ceilings
from morula.planning.fine_tune import plan_from, refuse_fixed
from morula.planning.fingerprint import Fingerprint, fingerprint
from morula.planning.plan import Plan
from morula.planning.planner import make_plan, merge, parse_overrides, read_recipe
from morula.planning.rules import working_zoom
from morula.planning.settings import check_settings
from morula.prediction.shipped import find_folder, read_plan, refuse_shipped_name
from morula.preprocessing.prepare import Prepared, prepare
from morula.spec import Spec, dump_toml, read_toml, validate
from morula.types import PathLike

Progress = Callable[[str], Callable[[int, int], None]]
"""Gives, for the name of a stage, a function that is called with (done, total)."""

HOLDOUT = 0.1
"""Share of the images that validate when no folds are asked for."""

DEFAULT_FOLDS = 5
"""Folds that are made for ``--fold K`` when the data set has none of its own."""


def silent(stage: str) -> Callable[[int, int], None]:
    """A `Progress` that shows nothing."""
    return lambda done, total: None


class Request(Spec, frozen=True):
    """What the user asked for; with it a run goes on without being told again."""

    data: str
    """Absolute path of the data set."""

    recipe: str = "auto"
    """Where planning starts."""

    overrides: tuple[str, ...] = ()
    """``key=value``, as in ``--set``."""

    select: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Index column to accepted values."""

    fold: int | None = None
    """The one fold to train."""

    folds: int | None = None
    """How many folds to train."""

    budget_s: float | None = None
    """Wall time for training, in seconds."""

    start_from: str | None = None
    """Model to fine-tune."""

    labelled: int | None = None
    """How many images keep their labels; the others count as unlabelled."""

    pseudo: tuple[str, ...] = ()
    """Data sets that a model labelled: trained on too, never validated on."""


@dataclass(frozen=True)
class Run:
    """A run folder."""

    folder: Path

    @property
    def plan_path(self) -> Path:
        """The plan."""
        return self.folder / "plan.toml"

    @property
    def request_path(self) -> Path:
        """What was asked for."""
        return self.folder / "request.toml"

    @property
    def splits_path(self) -> Path:
        """Validation ids per fold."""
        return self.folder / "splits.json"

    @property
    def fingerprint_path(self) -> Path:
        """The facts."""
        return self.folder / "fingerprint.json"

    @property
    def check_path(self) -> Path:
        """What the doctor found."""
        return self.folder / "check.json"

    def problems(self) -> tuple[Problem, ...]:
        """What the doctor found in the selected samples, and in the data set as a whole."""
        try:
            rows = json.loads(self.check_path.read_text(encoding="utf-8"))["problems"]
            return tuple(Problem(**{**row, "path": Path(row["path"])}) for row in rows)
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = (
                f"{self.check_path} is missing or broken ({type(error).__name__}). `morula plan` writes it: "
                "copy the run folder again, or plan into a new one."
            )
            raise InputError(msg) from error

    def fold(self, number: int) -> Path:
        """Folder of one fold."""
        return self.folder / f"fold_{number}"

    def request(self) -> Request:
        """What the user asked for.

        Raises:
            InputError: The folder is no run.
        """
        if not self.request_path.exists():
            msg = f"{self.folder} is no run folder (no request.toml). Start with: morula train DATA -o RUN"
            raise InputError(msg)
        return validate(Request, read_toml(self.request_path))

    def plan(self) -> Plan:
        """The decisions."""
        return Plan.load(self.plan_path)

    def dataset(self) -> Dataset:
        """The selected samples, those that the doctor found broken included."""
        request = self.request()
        return as_told(open_selected(Path(request.data), request.select), request.overrides)

    def labelled(self) -> tuple[Sample, ...]:
        """The labelled samples that are sound: those that the fingerprint is about."""
        facts = Fingerprint.load(self.fingerprint_path)
        sound = {image.id for image in facts.images if image.labelled}
        return tuple(sample for sample in self.dataset().labelled if sample.id in sound)

    def unlabelled(self) -> tuple[Sample, ...]:
        """The sound samples that count as unlabelled."""
        facts = Fingerprint.load(self.fingerprint_path)
        ids = {image.id for image in facts.images if not image.labelled}
        return tuple(sample for sample in self.dataset().samples if sample.id in ids)

    def prepare_pseudo(self, progress: Progress = silent) -> tuple[Prepared, ...]:
        """The samples that a model labelled, as `prepare` makes them; ids begin with the folder's name."""
        found = []
        for place in map(Path, self.request().pseudo):
            dataset, folder = open_dataset(place), self.folder / "prepared_pseudo" / place.name
            arrays = prepare(dataset, dataset.labelled, self.plan(), folder, progress("prepare"))
            found += [replace(sample, id=f"{place.name}:{sample.id}") for sample in arrays]
        return tuple(found)

    def prepare(self, progress: Progress = silent) -> tuple[Prepared, ...]:
        """The labelled samples as arrays on the working grid."""
        samples = self.labelled()
        return prepare(self.dataset(), samples, self.plan(), self.folder / "prepared", progress("prepare"))


def open_selected(data: Path, select: Mapping[str, Sequence[str]]) -> Dataset:
    """The samples of `data` whose index columns have one of the given values.

    Raises:
        InputError: No data set there, an unknown column, or nothing left.
    """
    dataset = open_dataset(data)
    if not select:
        return dataset
    chosen = dataset.select({column: set(values) for column, values in select.items()})
    if not chosen.samples:
        wanted = ", ".join(f"{column} = {' or '.join(values)}" for column, values in select.items())
        msg = f"no image of {data} has {wanted}; look at the columns of its index.csv."
        raise InputError(msg)
    return chosen


def as_told(dataset: Dataset, overrides: Sequence[str]) -> Dataset:
    """What the labels mean, where the user says so by ``--set`` rather than in the data set."""
    told = parse_overrides(overrides)
    known = {key: told[key] for key in ("task", "classes") if key in told}
    if not known:
        return dataset
    try:
        meaning = validate(Description, {"task": "semantic" if "classes" in known else None, **known})
    except InputError as error:
        msg = f"--set: {error}"
        raise InputError(msg) from error
    classes = meaning.classes or dataset.classes
    return replace(dataset, task=meaning.task, classes={} if meaning.task == "instances" else classes)


def start_run(folder: PathLike, request: Request) -> Run:
    """The run of `folder`, made for `request`, or found as it was left.

    Raises:
        InputError: The folder holds a run that was asked for differently, or that another process works
            on; or the request cannot be met.
    """
    folder = Path(folder)
    run = Run(folder)
    if run.request_path.exists() and run.plan_path.exists():
        if run.request() != request:
            msg = (
                f"{folder} holds a run that was asked for differently (see its request.toml). "
                f"Go on with it: morula train {folder}; or choose a new folder with -o."
            )
            raise InputError(msg)
        return run
    # A request that came to no plan may be mended; what is wrong is told before anything is written.
    _check_options(request)
    open_selected(Path(request.data), request.select)
    refuse_shipped_name(folder)
    claim(folder, "a training run")
    with hold(make_folder(folder)):
        write_text(run.request_path, dump_toml(request.model_dump(exclude_none=True)))
    return run


def _check_options(request: Request) -> None:
    """Refuse unknown names, and options of which one would be passed over in silence.

    Raises:
        InputError: Says which.
    """
    overrides = parse_overrides(request.overrides)
    check_settings(merge(read_recipe(request.recipe), overrides))
    if request.start_from is not None:
        find_folder(request.start_from)
        if request.recipe != "auto":
            msg = (
                f"--recipe {request.recipe} does not go with --from: the model keeps its own. Leave one out."
            )
            raise InputError(msg)
        refuse_fixed(overrides)
    if request.fold is not None and request.folds is not None:
        msg = "--fold trains one fold, --folds all of them; give one of the two."
        raise InputError(msg)
    refuse_two_lengths(request.budget_s, overrides)


def plan_run(run: Run, progress: Progress = silent) -> Plan:
    """Check, measure, decide and split; what is there already is kept, so that a plan may be edited.

    Raises:
        InputError: No sound labelled image is left, the folds of the index leak, or a key or value is
            unknown.
    """
    if run.plan_path.exists() and run.splits_path.exists():
        return run.plan()
    request = run.request()
    dataset = run.dataset()
    sound = _sound(run, dataset, progress)
    if request.labelled is not None:
        sound = splits.keep_labels(sound, request.labelled, _seed(request))
    facts = fingerprint(dataset, sound, progress("fingerprint"))
    plan, reasons = _decide(request, facts)
    labelled = tuple(sample for sample in sound if sample.labels)
    folds = split(labelled, request, plan.training.seed)
    if request.recipe == "auto" and request.start_from is None and plan.task == "instances":
        zoom = working_zoom(facts, plan.scaling.model_dump())
        rows = measure_ceilings(
            dataset, sound, plan.working_spacing, zoom=zoom, progress=progress("ceilings")
        )
        facts = facts.model_copy(update={"ceilings": rows})
        plan, reasons = _decide(request, facts)
    write_text(run.fingerprint_path, facts.dumps())
    splits.save(run.splits_path, folds)
    write_text(run.plan_path, plan.dumps(reasons))
    return plan


def _seed(request: Request) -> int:
    """The seed that is asked for; the plan, which has it, is made later."""
    training = parse_overrides(request.overrides).get("training", {})
    seed = training.get("seed", 0) if isinstance(training, Mapping) else 0
    return seed if isinstance(seed, int) else 0


def _decide(request: Request, facts: Fingerprint) -> tuple[Plan, dict[str, str]]:
    overrides = parse_overrides(request.overrides)
    if request.start_from is None:
        return make_plan(facts, request.recipe, overrides)
    return plan_from(read_plan(find_folder(request.start_from)), facts, overrides)


def _sound(run: Run, dataset: Dataset, progress: Progress) -> tuple[Sample, ...]:
    """The samples without errors, equal images in one group; the findings are written to ``check.json``.

    Raises:
        InputError: No sound labelled image is left, or the folds of the index leak.
    """
    ids = {sample.id for sample in dataset.samples}
    report = check(dataset.root, progress=progress("check"))
    # A leak among the selected images is refused below; one among others does no harm here.
    found = [
        problem
        for problem in report.problems
        if problem.sample in ids or not (problem.sample or problem.kind == "leakage between folds")
    ]
    rows = [{**asdict(problem), "path": str(problem.path)} for problem in found]
    write_text(run.check_path, json.dumps({"problems": rows}, indent=1) + "\n")
    sound = tuple(sample for sample in dataset.samples if sample.id not in report.unusable)
    if not any(sample.labels for sample in sound):
        errors = [problem for problem in found if problem.severity == "error"]
        first = f" First: {errors[0].message}" if errors else ""
        msg = (
            f"{dataset.root} has no sound labelled image to train on "
            f"({len(dataset.samples)} images, {len(errors)} errors; morula check lists them).{first}"
        )
        raise InputError(msg)
    sound = splits.tie(sound, report.duplicates)
    splits.refuse_leaks([sample for sample in sound if sample.labels])
    return sound


def folds_of(run: Run) -> list[tuple[int, tuple[str, ...]]]:
    """Number and validation ids of every fold that this run trains."""
    request = run.request()
    every = list(enumerate(splits.load(run.splits_path)))
    return [every[request.fold]] if request.fold is not None else every


def split(samples: Sequence[Sample], request: Request, seed: int) -> splits.Folds:
    """Validation ids per fold: as the index gives them, or made, or a tenth held out.

    Raises:
        InputError: Fewer groups than folds, another number of folds than the index has, or no such fold.
    """
    groups = {sample.group for sample in samples}
    given = splits.given_folds(samples)
    if request.folds is not None:
        if given is not None and len(given) != request.folds:
            msg = (
                f"--folds {request.folds}, but the column 'fold' of the index has {len(given)} folds. Ask for"
                f" --folds {len(given)}, or take the column out to have {request.folds} made."
            )
            raise InputError(msg)
        return given or splits.make_folds(samples, request.folds, seed)
    if request.fold is not None:
        if given is None:
            folds = splits.make_folds(samples, min(DEFAULT_FOLDS, len(groups)), seed)
            numbers = list(range(len(folds)))
        else:
            folds, numbers = given, sorted({sample.fold for sample in samples if sample.fold is not None})
        return _numbered(folds, numbers, request.fold)
    # One group cannot be split: training goes on, and the report says that nothing was measured.
    return (splits.holdout(samples, HOLDOUT, seed) if len(groups) > 1 else (),)


def _numbered(folds: splits.Folds, numbers: Sequence[int], wanted: int) -> splits.Folds:
    """`folds`, each at the place of its own number; numbers that the selected images lack are empty.

    Raises:
        InputError: There is no fold of the wanted number.
    """
    if wanted not in numbers:
        msg = f"there is no fold {wanted}; the data have the folds {', '.join(map(str, numbers))}."
        raise InputError(msg)
    known = dict(zip(numbers, folds, strict=True))
    return tuple(known.get(number, ()) for number in range(max(numbers) + 1))
