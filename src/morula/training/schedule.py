"""The learning rate over the steps."""

import math

from morula.planning.plan import Schedule


def rate_factor(schedule: Schedule, step: int, steps: int) -> float:
    """Factor on the peak learning rate at `step` (0 is the first) of `steps`.

    ``poly``: ``(1 - t)^power`` (nnU-Net, Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z);
    ``step``: times `drop` after every share `every`; ``cosine``: half a cosine to 0 (Loshchilov and Hutter
    2017, https://arxiv.org/abs/1608.03983); ``one_cycle``: cosine up during `warmup`, cosine down after it
    (Smith 2018, https://arxiv.org/abs/1803.09820). All but ``one_cycle`` rise linearly during `warmup`.

    Examples:
        >>> rate_factor(Schedule(kind="poly", warmup=0, power=1), 5, 10)
        0.5
    """
    rise = schedule.warmup * steps
    if step < rise:
        share = (step + 1) / (rise + 1)
        return (1 - math.cos(math.pi * share)) / 2 if schedule.kind == "one_cycle" else share
    time = (step - rise) / max(steps - rise, 1)
    if schedule.kind == "poly":
        return (1 - time) ** schedule.power
    if schedule.kind == "step":
        return schedule.drop ** math.floor(time / schedule.every + 1e-9)
    return (1 + math.cos(math.pi * time)) / 2
