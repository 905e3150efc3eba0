"""A time budget becomes a number of steps, once."""

import re

from morula.errors import InputError

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


def steps_for_budget(budget_s: float | int, seconds_per_step: float, *, share: float = 0.92) -> int:
    """Optimiser steps that fit a budget, at least one; `share` of the time is left to the steps themselves.

    Args:
        budget_s: Wall time for the whole training.
        seconds_per_step: Measured on this machine.
        share: The rest goes to validation, checkpoints and the start.

    Raises:
        InputError: A time is not positive.
    """
    if not budget_s > 0 or not seconds_per_step > 0:
        msg = f"a budget of {budget_s} s at {seconds_per_step} s a step; both must be positive."
        raise InputError(msg)
    return max(1, int(budget_s * share / seconds_per_step))
