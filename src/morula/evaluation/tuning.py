"""Tuning of the decoder: the fields that may change after training are fitted to cached maps.

Coordinate search: one field after the other, each over a grid that shrinks around the best value so far.
It is cheap because no network runs, and it always gives the same result.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from morula.data.files import write_atomic
from morula.errors import InputError
from morula.evaluation.metrics import match_image, mean_ap
from morula.planning.machine import usable_cores
from morula.representations.base import Representation, decode_to_shape
from morula.representations.tuned import (
    TunableField,
    decoder_choices,
    tunable_fields,
    tunable_values,
    with_values,
)
from morula.spec import dump_toml
from morula.types import Labels, Maps, Spacing

GRID = 7
"""Values tried of a field in the first round."""

ROUNDS = 3
"""Most rounds over all fields; each halves the range around the best value."""

HOPELESS = 0.05
"""A decoder that starts this far below the best one is not tuned."""

Trial = dict[str, Any]
"""One setting that was tried: every tunable field by its dotted name, and its ``dsb`` score."""


def tune(
    representation: Representation,
    examples: Iterable[tuple[Maps, Labels]],
    spacing: Spacing,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Representation, list[Trial]]:
    """Fit the tunable fields of a decoder, and a union's choice of decoder, to the mean DSB score.

    Args:
        representation: Where to start; never made worse on the examples.
        examples: Predicted maps and the truth of each validation image, on the same grid.
        spacing: Pixel size of the maps.
        progress: Called with (settings tried, an upper bound of them); at the end both are equal.

    Returns:
        The best representation, and every setting tried in order.

    Raises:
        InputError: There are no examples.
    """
    search = _Search(tuple(examples), spacing, progress)
    if not search.examples:
        msg = "nothing to tune on: there are no validation images with labels."
        raise InputError(msg)
    choices = decoder_choices(representation)
    starts = [with_values(representation, {"decoder": name}) for name in choices] or [representation]
    search.bound = 1 + sum(map(_most_trials, starts))
    scores = [search.score(start) for start in starts]
    best, best_score = representation, search.score(representation)
    for start, score in zip(starts, scores, strict=True):
        if score < max(scores) - HOPELESS:
            search.bound -= _most_trials(start) - 1
            continue
        found, found_score = _climb(search, start, score)
        if found_score > best_score:
            best, best_score = found, found_score
    search.finish()
    return best, search.trials


def write_tuned(path: Path, representation: Representation) -> None:
    """Write ``tuned.toml``: the tunable fields as table ``default``.

    Raises:
        InputError: The file cannot be written.
    """
    with write_atomic(path) as part:
        part.write_text(dump_toml({"default": tunable_values(representation)}), encoding="utf-8")


@dataclass
class _Search:
    """Scores settings on the examples, and remembers every one of them."""

    examples: tuple[tuple[Maps, Labels], ...]
    spacing: Spacing
    progress: Callable[[int, int], None] | None = None
    bound: int = 0
    trials: list[Trial] = field(default_factory=list)
    known: dict[str, float] = field(default_factory=dict)

    def score(self, representation: Representation) -> float:
        """Mean DSB score over the examples."""
        key = representation.model_dump_json()
        if key not in self.known:
            self.known[key] = self._measure(representation)
            names = {".".join(item.path): item.value for item in _active_fields(representation)}
            decoder = tunable_values(representation).get("decoder")
            chosen = {} if decoder is None else {"decoder": decoder}
            self.trials.append({**chosen, **names, "dsb": self.known[key]})
            if self.progress is not None:
                self.progress(len(self.trials), self.bound)
        return self.known[key]

    def finish(self) -> None:
        """Tell that no further setting will be tried."""
        if self.progress is not None:
            self.progress(len(self.trials), len(self.trials))

    def _measure(self, representation: Representation) -> float:
        def one(example: tuple[Maps, Labels]) -> float:
            maps, truth = example
            found = decode_to_shape(representation, maps, self.spacing, truth.shape)
            return mean_ap(match_image(truth, found))

        # The kernels let go of the interpreter; the result does not depend on the number of threads.
        with ThreadPoolExecutor(usable_cores()) as pool:
            return float(np.mean(list(pool.map(one, self.examples))))


def _most_trials(start: Representation) -> int:
    """Settings that `_climb` can try from `start`, itself among them."""
    return 1 + len(_active_fields(start)) * (GRID + 2 * (ROUNDS - 1))


def _climb(search: _Search, start: Representation, score: float) -> tuple[Representation, float]:
    """The best setting that coordinate search finds from `start`."""
    best, best_score = start, score
    for turn in range(ROUNDS):
        before = best_score
        for item in _active_fields(best):
            best, best_score = _along(search, best, best_score, item, turn)
        if turn > 0 and best_score <= before:
            break
    return best, best_score


def _along(
    search: _Search, best: Representation, best_score: float, item: TunableField, turn: int
) -> tuple[Representation, float]:
    """The best setting with one field changed."""
    for value in _grid(item, turn):
        try:
            candidate = with_values(best, _nested(item.path, value))
        except InputError:
            # Fields may bound each other; such a pair is no setting.
            continue
        score = search.score(candidate)
        if score > best_score:
            best, best_score = candidate, score
    return best, best_score


def _grid(item: TunableField, turn: int) -> list[float | int]:
    """Values to try: the whole range at first, then ever closer around the present value."""
    if turn == 0:
        values = np.linspace(item.low, item.high, GRID)
    else:
        step = (item.high - item.low) / (GRID - 1) / 2**turn
        values = np.clip(item.value + step * np.array([-1, 1]), item.low, item.high)
    if item.whole:
        return sorted({int(value) for value in np.rint(values)} - {int(item.value)})
    # Six digits are enough, and keep tuned.toml readable.
    return sorted({round(float(value), 6) for value in values} - {item.value})


def _active_fields(representation: Representation) -> Sequence[TunableField]:
    """The tunable fields that the running decoder can see: not those of a union's other parts."""
    fields = tunable_fields(representation)
    if not decoder_choices(representation):
        return fields
    decoder = tunable_values(representation)["decoder"]
    return [item for item in fields if item.path[0] != "parts" or item.path[1] == decoder]


def _nested(path: tuple[str, ...], value: float | int) -> dict[str, Any]:
    """`value` inside one table per part of `path`."""
    table: Any = value
    for key in reversed(path):
        table = {key: table}
    return table
