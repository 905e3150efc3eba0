"""Scores: the thresholds that are asked for, and tables of what came out."""

from collections.abc import Sequence
from typing import Any

from morula.cli.terminal import say, show_table
from morula.errors import InputError


def show_scores(metrics: dict[str, Any]) -> None:
    """The scores with their intervals, each stratum, and how objects went wrong."""
    from morula.evaluation.summary import DEFINITIONS, STRATUM_SCORES

    if metrics.get("task") == "semantic":
        _show_classes(metrics)
        return
    rows = [
        (DEFINITIONS[name].label, score["value"], _interval(score))
        for name, score in metrics["scores"].items()
    ]
    show_table(("score", "value", "95 % interval"), rows)
    for column, strata in metrics["strata"].items():
        labels = [DEFINITIONS[name].label for name in STRATUM_SCORES]
        show_table(
            (column, "images", "objects", *labels),
            [
                (
                    row["value"],
                    row["n_images"],
                    row["n_truth"],
                    *(row[name]["value"] for name in STRATUM_SCORES),
                )
                for row in strata
            ],
        )
    n_images = metrics["n_images"]
    errors = ", ".join(f"{count} {kind}" for kind, count in metrics["errors"].items())
    say(
        f"{n_images} {'image' if n_images == 1 else 'images'}, {metrics['n_truth']} true objects, "
        f"{metrics['n_predicted']} predicted: {errors}."
    )


def _show_classes(metrics: dict[str, Any]) -> None:
    """Dice and surface distance per class: mean and standard deviation over cases."""
    from morula.evaluation.semantic import SCORES

    head = [part for label, _ in SCORES.values() for part in (label, "±")]
    tables = {**metrics["classes"], "mean of the classes": metrics["scores"]}
    rows = [
        (name, row["dice"]["n"], *(row[key][part] for key in SCORES for part in ("mean", "deviation")))
        for name, row in tables.items()
    ]
    show_table(("class", "cases", *head), rows)
    for fold in metrics["folds"]:
        score = fold["scores"]["dice"]
        deviation = "" if score["deviation"] is None else f" ± {score['deviation']:.4f}"
        mean = "-" if score["mean"] is None else f"{score['mean']:.4f}"
        say(f"Fold {fold['fold']}: mean Dice {mean}{deviation} in {fold['n_images']} cases.")
    if metrics.get("peak_memory_mb"):
        say(f"Peak memory: {metrics['peak_memory_mb']:.0f} MB.")


def parse_iou(text: str | None) -> tuple[float, ...]:
    """IoU thresholds from ``0.6,0.85``.

    >>> parse_iou("0.6, 0.85")
    (0.6, 0.85)

    Raises:
        InputError: Not numbers above 0 and at most 1.
    """
    if text is None:
        return ()
    try:
        levels = tuple(float(part) for part in text.split(","))
    except ValueError:
        levels = (0.0,)
    if not all(0 < level <= 1 for level in levels):
        msg = f"--iou {text!r}: expected numbers above 0 and at most 1, such as 0.6,0.85."
        raise InputError(msg)
    return levels


def show_levels(metrics: dict[str, Any], iou: Sequence[float]) -> None:
    """Precision, recall, F1 and AP at the thresholds that were asked for."""
    keys = ("precision", "recall", "f1", "ap")
    rows = [
        (f"{row['iou']:g}", *(row[key] for key in keys))
        for row in metrics.get("curve", ())
        if row["iou"] in iou
    ]
    if rows:
        show_table(("IoU", "precision", "recall", "F1", "AP"), rows)


def show_comparison(comparison: dict[str, Any]) -> None:
    """The paired tests against another prediction."""
    from morula.evaluation.semantic import SCORES
    from morula.evaluation.summary import DEFINITIONS

    labels = {name: definition.label for name, definition in DEFINITIONS.items()}
    labels = {name: label for name, (label, _) in SCORES.items()} | labels
    say(f"Compared with {comparison['with']}, image by image:")
    rows = [
        (labels[name], test["difference"], _interval(test), test["p_value"], int(test["n_images"]))
        for name, test in comparison["tests"].items()
    ]
    show_table(("score", "difference", "95 % interval", "p", "images"), rows)


def _interval(score: dict[str, Any]) -> str:
    if score["low"] is None or score["low"] == score["high"]:
        return "-"  # one image, or nothing to vary
    return f"{score['low']:.3f} to {score['high']:.3f}"
