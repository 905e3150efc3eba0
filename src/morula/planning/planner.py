"""Facts to plan: overrides > recipe > rules > defaults."""

import copy
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from morula.errors import InputError
from morula.networks import read_network
from morula.planning import class_rules, rules
from morula.planning.fingerprint import Fingerprint
from morula.planning.plan import Plan
from morula.planning.rules import Decision
from morula.representations import Task, task_of
from morula.spec import nearest, read_toml, validate

Table = dict[str, Any]


def recipes() -> dict[str, str]:
    """Name of every shipped recipe to its one-line description."""
    files = sorted(item.name for item in _recipe_folder().iterdir() if item.name.endswith(".toml"))
    return {name[:-5]: str(_read_shipped(name[:-5])["description"]) for name in files}


def read_recipe(name: str) -> Table:
    """A recipe's table (a partial plan), without its description.

    Args:
        name: A shipped recipe, or the path of a TOML file of one's own.

    Raises:
        InputError: There is no such recipe.
    """
    if name.endswith(".toml"):
        table = read_toml(Path(name))
    elif name in recipes():
        table = _read_shipped(name)
    else:
        msg = f"unknown recipe {nearest(name, list(recipes()))}"
        raise InputError(msg)
    return {key: value for key, value in table.items() if key != "description"}


def parse_overrides(pairs: Sequence[str]) -> Table:
    """``["training.steps=300", "network.kind=plain_unet"]`` as nested tables; values are TOML or plain words.

    >>> parse_overrides(["training.steps=300", "representation.kind=hover"])
    {'training': {'steps': 300}, 'representation': {'kind': 'hover'}}

    Raises:
        InputError: A pair has no ``=`` or no key, or a key is both a value and a table.
    """
    table: Table = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        parts = [part.strip() for part in key.split(".")]
        if not sign or not all(parts):
            msg = f"--set {pair!r} is not of the form key=value, such as training.steps=3000."
            raise InputError(msg)
        node = table
        for part in parts[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                msg = f"--set {pair!r}: {part!r} is given a value already; it cannot hold keys too."
                raise InputError(msg)
        node[parts[-1]] = _read_value(text.strip())
    return table


def make_plan(
    fingerprint: Fingerprint, recipe: str = "auto", overrides: Mapping[str, Any] | None = None
) -> tuple[Plan, dict[str, str]]:
    """Decide everything.

    Args:
        fingerprint: The facts.
        recipe: A shipped recipe or the path of one.
        overrides: Nested tables, as `parse_overrides` returns them; they win over recipe and rules.

    Returns:
        The plan, and the reason of each decision by its dotted key.

    Raises:
        InputError: The data cannot be planned for, or a key or value is unknown.
    """
    draft = _Draft(recipe, read_recipe(recipe), dict(overrides or {}))
    draft.settle("recipe", Decision(recipe, ""))
    _decide_ndim(draft, fingerprint.ndim, fingerprint.task)
    _decide_task(draft, fingerprint.ndim, fingerprint.task)
    _decide_input(draft, fingerprint)
    _decide_sizes(draft, fingerprint)
    _decide_training(draft, fingerprint)
    return validate(Plan, draft.table), draft.reasons


def refuse_misfit(recipe: str, overrides: Mapping[str, Any], ndim: int, task: Task | None) -> None:
    """What `make_plan` would refuse of any data of this kind, told before they are measured.

    Args:
        recipe: As for `make_plan`.
        overrides: As for `make_plan`.
        ndim: Spatial axes of the images.
        task: What the data set says that its labels are; None when it says nothing.

    Raises:
        InputError: The recipe is for other images or labels; names those that fit.
    """
    draft = _Draft(recipe, read_recipe(recipe), dict(overrides))
    _decide_ndim(draft, ndim, task)
    _decide_task(draft, ndim, task)


class _Draft:
    """A plan in the making: what is given wins over what a rule decides."""

    def __init__(self, recipe: str, given: Table, overrides: Table) -> None:
        self.recipe = recipe
        self._recipe_table = given
        self._overrides = overrides
        self.table: Table = merge(given, overrides)
        self.reasons: dict[str, str] = {}
        self.own: dict[str, Decision] = {}
        """Decisions that the task of the data brings along: they go before the rules for single objects."""

    def settle(self, key: str, decision: Decision) -> Any:
        """Put a decision under a dotted key unless it is given; returns what the plan now says."""
        *path, last = key.split(".")
        node = self.table
        for part in path:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                msg = f"{part} = {node!r} must be a table."
                raise InputError(msg)
        decision = self.own.get(key, decision)
        given = node.get(last)
        if given is None:
            node[last], reason = copy.deepcopy(decision.value), decision.reason
        elif isinstance(given, Mapping) and isinstance(decision.value, Mapping):
            node[last], reason = merge(decision.value, given), self._why_given(key)
            same = given.get("kind") in (None, decision.value.get("kind"))
            if same and not decision.value.keys() <= given.keys():
                reason = f"{decision.reason}; {', '.join(given)}: {reason}"
        else:
            reason = self._why_given(key)
        if reason:
            self.reasons[key] = reason
        return node[last]

    def from_recipe(self, key: str) -> bool:
        """Whether the value under a dotted key is the recipe's, and not that of ``--set``."""
        return _look_up(self._recipe_table, key) is not None and _look_up(self._overrides, key) is None

    def overrule(self, key: str, decision: Decision) -> Any:
        """Put a decision in place of one that is there; returns its value."""
        path, _, last = key.rpartition(".")
        _look_up(self.table, path)[last] = decision.value
        self.reasons[key] = decision.reason
        return decision.value

    def numbers(self, key: str, decision: Decision, ndim: int) -> tuple[int, ...]:
        """As `settle`, for `ndim` positive whole numbers that later rules count on."""
        value = self.settle(key, decision)
        good = isinstance(value, (list, tuple)) and len(value) == ndim
        if not good or not all(isinstance(item, int) and item > 0 for item in value):
            msg = f"{key} = {value!r} must be {ndim} positive whole numbers, such as {list(decision.value)}."
            raise InputError(msg)
        return tuple(value)

    def number(self, key: str, decision: Decision) -> int:
        """As `settle`, for one positive whole number that later rules count on."""
        value = self.settle(key, decision)
        if not isinstance(value, int) or value < 1:
            msg = f"{key} = {value!r} must be a positive whole number, such as {decision.value}."
            raise InputError(msg)
        return value

    def given(self, key: str) -> Table:
        """The table that recipe and overrides give under a dotted key; empty when they do not."""
        found = _look_up(merge(self._recipe_table, self._overrides), key)
        return dict(found) if isinstance(found, Mapping) else {}

    def _why_given(self, key: str) -> str:
        if _look_up(self._overrides, key) is not None:
            return "set by --set"
        return f"set by the recipe {self.recipe}"


def _look_up(table: Any, key: str) -> Any:
    for part in key.split("."):
        table = table.get(part) if isinstance(table, Mapping) else None
    return table


def _decide_ndim(draft: _Draft, ndim: int, task: Task | None) -> None:
    """How many axes; a recipe for other images is refused.

    Raises:
        InputError: Names the recipes that fit.
    """
    draft.settle("ndim", Decision(ndim, f"the images have {ndim} spatial axes"))
    if draft.table["ndim"] != ndim:
        msg = (
            f"these images have {ndim} spatial axes, {draft.recipe} is for images with {draft.table['ndim']}."
            f" Recipes that fit: {', '.join(_recipes_for(task or 'instances', ndim))}."
        )
        if task is None:
            msg += f" If the labels are classes (organs): {', '.join(_recipes_for('semantic', ndim))}."
        raise InputError(msg)


def _decide_task(draft: _Draft, ndim: int, task: Task | None) -> None:
    """What the labels mean; a recipe for the other kind of labels is refused.

    Raises:
        InputError: Names the recipes that fit.
    """
    kind = draft.given("representation").get("kind")
    wanted: Task = task_of(str(kind)) if kind else draft.table.get("task") or task or "instances"
    if task is None and wanted == "semantic":
        msg = (
            "the data set does not say that its labels are classes, and objects cannot be told from them. If"
            ' they are classes, write task = "semantic" and their names under [classes] into dataset.toml (or'
            f" give --set task=semantic); if they are objects, choose a recipe such as"
            f" {', '.join(_recipes_for('instances', ndim))}."
        )
        raise InputError(msg)
    if task not in (None, wanted):
        what = {"instances": "single objects", "semantic": "classes (organs)"}
        msg = (
            f"the labels of this data set are {what[task or wanted]}, {draft.recipe} is for {what[wanted]}."
            f" Recipes that fit: {', '.join(_recipes_for(task or wanted, ndim))}."
        )
        raise InputError(msg)
    unsaid = "the data set does not say otherwise (task in dataset.toml)"
    draft.settle("task", Decision(wanted, unsaid if task is None else "as the data set says"))


def _recipes_for(task: Task, ndim: int) -> list[str]:
    """Names of the shipped recipes for such labels and images; one without a representation suits both."""
    fits = []
    for name in recipes():
        table = _read_shipped(name)
        kind = table.get("representation", {}).get("kind")
        if table.get("ndim", ndim) == ndim and (kind is None or task_of(kind) == task):
            fits.append(name)
    return fits


def _decide_input(draft: _Draft, facts: Fingerprint) -> None:
    given = draft.table.get("channels")
    # The rule refuses images without a common name: nothing to refuse when the names are given.
    chosen = draft.settle("channels", Decision(given, "") if given else rules.channels(facts))
    if draft.table["task"] == "semantic":
        draft.own |= class_rules.of_input(facts, chosen, draft.given("normalization").get("kind"))
        draft.settle("classes", draft.own["classes"])
    draft.settle("normalization", rules.normalization(facts))
    draft.settle("scaling", rules.scaling(facts, draft.given("scaling").get("factor")))
    draft.settle("representation", rules.representation(facts))
    draft.settle("training.augmentation.shuffle", rules.shuffle(chosen))
    draft.settle("training.augmentation.colour", rules.colour(chosen))
    draft.settle("training.augmentation.pseudo_colour", rules.pseudo_colour(facts, chosen))


def _decide_sizes(draft: _Draft, facts: Fingerprint) -> None:
    scaling = draft.table["scaling"]
    if not isinstance(scaling, dict):
        msg = f"scaling = {scaling!r} must be a table."
        raise InputError(msg)
    zoom = rules.working_zoom(facts, scaling)
    _scale_diameter(draft, facts, zoom)
    aspect = scaling.get("spacing_um") or (1.0,) * facts.ndim
    if draft.table["task"] == "semantic":
        given = {"network": draft.given("network"), **draft.given("training")}
        draft.own |= class_rules.of_sizes(facts, zoom, aspect, given)
    network = _decide_network(draft, facts, zoom, aspect)
    divisors = read_network(network).divisors(facts.ndim)
    patch = draft.numbers("training.patch_size", rules.patch_size(facts, zoom, divisors, aspect), facts.ndim)
    within = rules.patch_within(patch, facts, zoom, divisors)
    if draft.from_recipe("training.patch_size") and within.value != patch:
        patch = draft.overrule("training.patch_size", within)
    draft.settle("halo_px", rules.halo(facts, zoom, patch))
    light = facts.ndim == 2 and network.get("kind") == "residual_unet" and network.get("norm") != "instance"
    draft.settle("inference.tile_size", rules.tile_size(facts, patch, divisors, light=light))
    if light:
        draft.settle("inference.overlap", Decision(0.125, "128 px are what neighbouring tiles need to agree"))
    batch = draft.number("training.batch_size", rules.batch_size(patch))
    n_steps = draft.number("training.steps", rules.steps(facts, zoom, patch, batch))
    draft.settle("training.ema", rules.averaging(n_steps))
    draft.settle("training.validate_every", rules.validate_every(n_steps))


def _decide_network(draft: _Draft, facts: Fingerprint, zoom: Sequence[float], aspect: Sequence[float]) -> Any:
    """The network; a plain U-Net is as deep as its patch allows."""
    given = draft.given("network")
    if given.get("kind") != "plain_unet" or "features" in given:
        return draft.settle("network", rules.network(facts, zoom))
    each = (1,) * facts.ndim
    about = rules.patch_size(facts, zoom, each, aspect)
    if _look_up(draft.table, "training.patch_size") is not None:
        about = Decision(draft.numbers("training.patch_size", about, facts.ndim), "")
    if draft.from_recipe("training.patch_size"):
        about = rules.patch_within(about.value, facts, zoom, each)
    return draft.settle("network", rules.plain_network(about.value))


def _scale_diameter(draft: _Draft, facts: Fingerprint, zoom: Sequence[float]) -> None:
    """A factor or spacing that was given moves the working diameter along."""
    if "diameter_px" in draft.given("scaling"):
        return
    size = 1.0
    for factor in zoom:
        size *= factor ** (1 / facts.ndim)
    draft.table["scaling"]["diameter_px"] = round(facts.image_diameter_px.p50 * size, 2)


def _decide_training(draft: _Draft, facts: Fingerprint) -> None:
    if draft.table["task"] == "semantic":
        draft.own |= class_rules.of_training(facts)
        for key in class_rules.of_training(facts):
            draft.settle(key, draft.own[key])
    key = "training.schedule.frozen"
    if draft.from_recipe(key) and not draft.table["network"].get("encoder_weights"):
        why = "no network.encoder_weights: an encoder that starts from scratch learns from the first step"
        draft.overrule(key, Decision(0.0, why))
    draft.settle("training.precision", rules.precision(facts))
    draft.settle("training.augmentation.zoom", rules.zoom_range(facts))
    draft.settle("training.augmentation.invert", rules.invert(facts))
    draft.settle("training.augmentation.copy_paste", rules.copy_paste(facts))


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Table:
    """`over` laid over `base`, table by table; a table of another ``kind`` replaces the one below it."""
    if "kind" in over and over["kind"] != base.get("kind", over["kind"]):
        return copy.deepcopy(dict(over))
    out = copy.deepcopy(dict(base))
    for key, value in over.items():
        below = out.get(key)
        nested = isinstance(value, Mapping) and isinstance(below, Mapping)
        out[key] = merge(below, value) if nested else copy.deepcopy(value)  # pyright: ignore[reportArgumentType]
    return out


def _read_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _recipe_folder() -> Any:
    return resources.files("morula.planning") / "recipes"


def _read_shipped(name: str) -> Table:
    return tomllib.loads((_recipe_folder() / f"{name}.toml").read_text(encoding="utf-8"))
