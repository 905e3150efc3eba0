"""The learning rate over the steps."""

import math

from morula.planning.plan import Schedule


def frozen_steps(schedule: Schedule, steps: int) -> int:
    """How many of `steps` pass, at the start, before the encoder learns too."""
    return round(schedule.frozen * steps)


def rate_factor(schedule: Schedule, step: int, steps: int) -> float:
    """Factor on the peak learning rate at `step` (0 is the first) of `steps`.

    ``poly``: ``(1 - t)^power`` (nnU-Net, Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z);
    ``step``: times `drop` after every share `every`; ``cosine``: half a cosine to 0 (Loshchilov and Hutter
    2017, https://arxiv.org/abs/1608.03983); ``one_cycle``: cosine up during `warmup`, cosine down after it
    (Smith 2018, https://arxiv.org/abs/1803.09820). All but ``one_cycle`` rise linearly during `warmup`.
    After steps with a frozen encoder (system C) the curve begins again, `thawed` times as high.

    Examples:
        >>> rate_factor(Schedule(kind="poly", warmup=0, power=1), 5, 10)
        0.5
    """
    first = frozen_steps(schedule, steps)
    if step < first:
        return _curve(schedule, step, first, steps)
    return (schedule.thawed if first else 1.0) * _curve(schedule, step - first, steps - first, steps)


def _curve(schedule: Schedule, step: int, length: int, steps: int) -> float:
    """The factor at `step` of a stage of `length` steps; drops are shares of all `steps`."""
    rise = schedule.warmup * length
    if step < rise:
        share = (step + 1) / (rise + 1)
        return (1 - math.cos(math.pi * share)) / 2 if schedule.kind == "one_cycle" else share
    if schedule.kind == "step":
        return schedule.drop ** math.floor((step - rise) / max(steps - rise, 1) / schedule.every + 1e-9)
    time = (step - rise) / max(length - rise, 1)
    return (1 - time) ** schedule.power if schedule.kind == "poly" else (1 + math.cos(math.pi * time)) / 2
