"""The section of a training report about the decoder: settings tried, and what choosing objects gained."""

from collections.abc import Mapping, Sequence
from typing import Any

from morula.evaluation.page import Column, Html, number, section, table
from morula.prediction.scorer import Scorer

MOST_TRIALS = 12
"""Settings of the decoder that are shown, the best first."""


def tuning_section(trials: Sequence[Mapping[str, Any]], scorer: Scorer | None) -> Html:
    """The best settings and their DSB scores; empty when none were tried.

    Args:
        trials: ``tuning.json``.
        scorer: ``scorer.safetensors``, if there is one.
    """
    if not trials:
        return Html("")
    ordered = sorted(trials, key=lambda trial: -trial["dsb"])[:MOST_TRIALS]
    names = list(dict.fromkeys(key for trial in ordered for key in trial if key not in ("dsb", "decoder")))
    short = {name: name.rsplit(".", 1)[-1] for name in names}
    unique = len(set(short.values())) == len(names)
    several = any("decoder" in trial for trial in trials)
    columns = [Column("DSB score", bar=True, digits=4)] + [Column("decoder", numeric=False)] * several
    columns += [Column(short[name] if unique else name) for name in names]
    rows = [
        [trial["dsb"], *[trial.get("decoder", "")] * several, *(trial.get(name) for name in names)]
        for trial in ordered
    ]
    first, best = trials[0]["dsb"], ordered[0]["dsb"]
    lead = (
        f"{len(trials)} settings tried on validation images; the DSB score on the working grid went"
        f" from {number(first, 4)} to {number(best, 4)}{_best_by_decoder(trials)}. "
    )
    if scorer is not None:
        lead += (
            "Objects are not cut at one threshold but chosen among nested regions: DSB score"
            f" {number(scorer.score, 4)}, each image by perceptrons that have not seen it. "
        )
    return section("Decoder tuning", table(columns, rows), lead=f"{lead}The best {len(rows)}:")


def _best_by_decoder(trials: Sequence[Mapping[str, Any]]) -> str:
    """What each decoder of a union reached, the best first; empty when there is no choice."""
    best: dict[str, float] = {}
    for trial in sorted(trials, key=lambda trial: -trial["dsb"]):
        best.setdefault(trial.get("decoder", ""), trial["dsb"])
    if set(best) <= {""}:
        return ""
    scores = ", ".join(f"{name} {number(score, 4)}" for name, score in best.items())
    return f" (best of each decoder: {scores})"
