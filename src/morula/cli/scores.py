"""Scores as tables."""

from typing import Any

from morula.cli.terminal import say, show_table


def show_scores(metrics: dict[str, Any]) -> None:
    """The scores with their intervals, each stratum, and how objects went wrong."""
    from morula.evaluation.summary import DEFINITIONS, STRATUM_SCORES

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


def show_comparison(comparison: dict[str, Any]) -> None:
    """The paired tests against another prediction."""
    from morula.evaluation.summary import DEFINITIONS

    say(f"Compared with {comparison['with']}, image by image:")
    rows = [
        (DEFINITIONS[name].label, test["difference"], _interval(test), test["p_value"], int(test["n_images"]))
        for name, test in comparison["tests"].items()
    ]
    show_table(("score", "difference", "95 % interval", "p", "images"), rows)


def _interval(score: dict[str, Any]) -> str:
    if score["low"] is None or score["low"] == score["high"]:
        return "-"  # one image, or nothing to vary
    return f"{score['low']:.3f} to {score['high']:.3f}"
