"""A time budget becomes a number of steps, once."""

import re
from collections.abc import Mapping
from typing import Any

from morula.errors import InputError
from morula.planning.rules import LOOKS, SHORTEST_PAUSE

RESERVE = 0.05
"""Share of a budget for what is not measured: checkpoints, tuning decoder and scorer, the report."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_budget(text: str) -> float:
    """Seconds in a text such as ``90m``, ``2h``, ``1h30m`` or ``45s``.

    >>> parse_budget("1h30m")
    5400.0

    Raises:
        InputError: The text is no positive time.
    """
    compact = text.replace(" ", "").lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", compact)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != compact or seconds <= 0:
        msg = f"the budget {text!r} is not a time; write 90m, 2h, 1h30m or 45s."
        raise InputError(msg)
    return seconds


def refuse_two_lengths(budget_s: float | None, overrides: Mapping[str, Any]) -> None:
    """Refuse a budget beside a number of steps.

    Args:
        budget_s: Of ``--budget``, if it was given.
        overrides: Nested tables of ``--set``.

    Raises:
        InputError: Both were given.
    """
    training = overrides.get("training", {})
    if budget_s is not None and isinstance(training, Mapping) and "steps" in training:
        msg = "--budget and --set training.steps both say how long to train; give one of the two."
        raise InputError(msg)


def steps_for_budget(
    budget_s: float, step_s: float, look_s: float = 0.0, *, validate_every: int | None = None
) -> int:
    """Optimiser steps that fit a budget together with the looks at validation images; at least one.

    Args:
        budget_s: Wall time for the training of one fold.
        step_s: Of one step, measured on this machine.
        look_s: Of one look at the validation images.
        validate_every: Steps between two looks; when not given, as the rule of that name says.

    Raises:
        InputError: The budget or a step is not positive.
    """
    if not budget_s > 0 or not step_s > 0:
        msg = f"a budget of {budget_s} s at {step_s} s a step; both must be positive."
        raise InputError(msg)
    if validate_every is not None:
        return max(1, int(budget_s / (step_s + look_s / validate_every)))
    # A long training has a fixed number of looks, a short one a look every so many steps.
    long = (budget_s - LOOKS * look_s) / step_s
    short = budget_s / (step_s + look_s / SHORTEST_PAUSE)
    return max(1, int(max(long, short)))


def time_to_train(budget_s: float, spent_s: float, end_s: float) -> float:
    """Seconds of a budget that are left to the training itself, at least half of it.

    Args:
        budget_s: Wall time for everything.
        spent_s: What checking, measuring and preparing have taken.
        end_s: What predicting the validation images for tuning and scores will take.
    """
    return max(0.5 * budget_s, (1 - RESERVE) * budget_s - spent_s - end_s)
