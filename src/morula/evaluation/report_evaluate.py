"""The report of an evaluation, made of ``metrics.json`` and the pictures beside it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from morula.errors import InputError
from morula.evaluation.charts import Axes, Line, line_chart
from morula.evaluation.page import (
    Cell,
    Column,
    Content,
    Html,
    document,
    facts,
    gauge,
    join,
    node,
    notice,
    number,
    picture,
    section,
    short_name,
    table,
    tile,
    tiles,
)
from morula.evaluation.pictures import embed
from morula.evaluation.summary import DEFINITIONS, STRATUM_SCORES

FIRST_TILES = ("dsb", "ap_50", "ap_75", "ap_90", "f1_50", "pq")
"""Scores that come first, in this order; all others follow."""

UNFOLDED = 12
"""Pictures that are seen at once; the others open on a click."""

ERRORS = {
    "split": ("Split", "true objects found in two or more pieces", "truth"),
    "merged": ("Merged", "predictions that swallow two or more true objects", "predicted"),
    "missed": ("Missed", "true objects that nothing covers", "truth"),
    "spurious": ("Spurious", "predictions where there is no object", "predicted"),
}


@dataclass(frozen=True)
class EvaluateReport:
    """What an evaluation found."""

    metrics: dict[str, Any]
    """As in ``metrics.json``."""

    pictures: dict[str, Path]
    """Comparison of truth and prediction by image id, the worst image first."""

    @classmethod
    def load(cls, folder: Path) -> "EvaluateReport":
        """From the folder that `evaluate` wrote.

        Raises:
            InputError: There is no ``metrics.json``, or it is broken.
        """
        metrics = read_json(folder / "metrics.json")
        return cls(metrics, pictures_of(metrics, folder))

    def page(self) -> str:
        """The whole page."""
        metrics = self.metrics
        if metrics.get("task") == "semantic":
            return self._page_of_classes()
        parts = [self._warnings(), score_section(metrics), curve_section(metrics["curve"])]
        parts += [
            self._comparison(),
            strata_section(metrics),
            picture_section(metrics, self.pictures),
            image_section(metrics["images"]),
        ]
        parts.append(self._about())
        counts = f"{number(metrics['n_truth'])} true and {number(metrics['n_predicted'])} predicted objects"
        subtitle = f"{counted(metrics['n_images'], 'image')} · {counts} · {_rule(metrics)}"
        return document("Evaluation", subtitle, [part for part in parts if part], foot())

    def _page_of_classes(self) -> str:
        from morula.evaluation.report_classes import class_sections

        metrics = self.metrics
        first, *others = class_sections(metrics, self.pictures)
        parts = [self._warnings(), first, self._comparison(), *others]
        subtitle = f"{counted(metrics['n_images'], 'case')} · {', '.join(metrics['classes'])}"
        return document("Evaluation", subtitle, [part for part in parts if part], foot())

    def _warnings(self) -> Html:
        rivals = self.metrics.get("comparison", {}).get("failed", {})
        lists = (
            ("error", "could not be scored", list(self.metrics.get("failed", {}).items())),
            ("error", "of the other prediction could not be scored", list(rivals.items())),
            ("warning", "of the truth without a prediction, not scored", self._missing("without_prediction")),
            ("warning", "predicted without a truth, not scored", self._missing("without_truth")),
        )
        return join(
            name_list(kind, f"{counted(len(rows), 'image')} {text}", rows)
            for kind, text, rows in lists
            if rows
        )

    def _missing(self, key: str) -> list[tuple[str, str]]:
        return [(name, "") for name in self.metrics.get(key, [])]

    def _comparison(self) -> Html:
        comparison = self.metrics.get("comparison")
        if not comparison:
            return Html("")
        rows = []
        for name, test in comparison["tests"].items():
            verdict = _verdict(test)
            interval = f"{number(test['low'])} to {number(test['high'])}"
            rows.append(
                [label_of(name, self.metrics), test["difference"], interval, test["p_value"], verdict]
            )
        columns = [
            Column("score", numeric=False),
            Column("difference", hint="this prediction minus the other"),
            Column("95 % interval"),
            Column("p", digits=4, hint="two-sided sign-flip permutation test over images"),
            Column("verdict", numeric=False),
        ]
        lead = join(("Against ", node("code", comparison["with"]), ", on the same images."))
        return section("Comparison", table(columns, rows), lead=lead)

    def _about(self) -> Html:
        metrics = self.metrics
        rows: list[tuple[str, Html | str]] = [
            ("Predicted", node("code", metrics.get("predicted", ""))),
            ("Truth", node("code", metrics.get("truth", ""))),
            ("A pair matches", _rule(metrics)),
            ("Intervals", "95 %, percentile bootstrap over images, 2000 resamples, fixed seed"),
            *((definition.label, definition.text) for definition in DEFINITIONS.values()),
            ("NeurIPS F1, median", f"{number(metrics.get('neurips_f1_median'))}, over images"),
            *((label, text) for label, text, _ in ERRORS.values()),
        ]
        return section("Definitions", facts(rows))


def label_of(name: str, metrics: dict[str, Any]) -> str:
    """What a score is called: of classes, or of objects."""
    if metrics.get("task") == "semantic":
        from morula.evaluation.semantic import SCORES

        return f"Mean {SCORES[name][0]}"
    return DEFINITIONS[name].label


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InputError: The file is missing or broken.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{path} does not exist; the report is made of it. Run the stage again."
        raise InputError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read: {error}. Run the stage again."
        raise InputError(msg) from error
    if not isinstance(value, dict):
        msg = f"{path} holds a {type(value).__name__}, expected a table. Run the stage again."
        raise InputError(msg)
    return value


def foot() -> Html:
    """The last line of every report."""
    return join((f"Made by Morula {version('morula')}. ", "This file stands alone and can be sent as it is."))


def counted(count: int, noun: str) -> str:
    """A number with its noun: 1 image, 2 images."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def name_list(kind: str, title: str, rows: Sequence[tuple[str, str]]) -> Html:
    """A notice that lists names with remarks; long lists are folded."""
    items = [node("li", *_named(name, text)) for name, text in rows]
    listed = node("ul", *items)
    if len(items) <= 8:
        return notice(kind, node("strong", title), listed)
    return notice(kind, node("details", node("summary", node("strong", title)), listed))


def _named(name: str, text: str) -> list[Html | str]:
    head: list[Html | str] = [node("span", name, css="name")] if name else []
    return [*head, ": " if name and text else "", text]


def gallery(figures: Sequence[Html], css: str = "") -> Html:
    """Pictures in a grid; those beyond the first `UNFOLDED` are folded away."""
    first = node("div", *figures[:UNFOLDED], css=f"gallery {css}".strip())
    if len(figures) <= UNFOLDED:
        return first
    rest = node("div", *figures[UNFOLDED:], css=f"gallery {css}".strip())
    more = node("summary", f"{len(figures) - UNFOLDED} more", css="more")
    return join((first, node("details", more, rest)))


def score_section(metrics: dict[str, Any], title: str = "Scores", lead: Content = "") -> Html:
    """Score tiles with their intervals, and the counts of errors; `lead` comes before what they are."""
    order = [*FIRST_TILES, *(name for name in DEFINITIONS if name not in FIRST_TILES)]
    cards = [score_tile(name, metrics["scores"][name]) for name in order if name in metrics["scores"]]
    lead = join((lead, "With 95 % confidence intervals over images."))
    return section(title, tiles(cards), node("h3", "Errors"), error_tiles(metrics), lead=lead)


def score_tile(name: str, score: dict[str, Any]) -> Html:
    """One score with its interval."""
    definition = DEFINITIONS[name]
    interval = (
        f"{number(score['low'])} – {number(score['high'])}" if score["value"] is not None else "not defined"
    )
    shown = gauge(score["value"], score["low"], score["high"])
    css = "main" if name == FIRST_TILES[0] else ""
    return tile(
        definition.label, number(score["value"]), interval, hint=definition.text, gauge=shown, css=css
    )


def error_tiles(metrics: dict[str, Any]) -> Html:
    """Split, merged, missed and spurious objects."""
    cards = []
    for kind, (label, text, side) in ERRORS.items():
        count, whole = metrics["errors"][kind], metrics[f"n_{side}"]
        share = (
            f"{100 * count / whole:.1f} % of {'true' if side == 'truth' else 'predicted'}" if whole else ""
        )
        cards.append(tile(label, number(count), share, hint=text))
    return tiles(cards)


def curve_section(curve: Sequence[dict[str, Any]]) -> Html:
    """AP, F1, precision and recall over the IoU threshold, as a chart and a table."""
    x = [row["iou"] for row in curve]
    lines = [
        Line("AP", x, *([row[f"ap{end}"] for row in curve] for end in ("", "_low", "_high")), dots=True),
        *(
            Line(name.title(), x, [row[name] for row in curve], thin=True)
            for name in ("f1", "precision", "recall")
        ),
    ]
    chart = line_chart(lines, Axes("IoU threshold", "score", y_range=(0.0, 1.0)))
    columns = [Column("IoU"), Column("AP", bar=True)]
    columns += [Column(name) for name in ("F1", "precision", "recall", "TP", "FP", "FN")]
    keys = ("f1", "precision", "recall", "tp", "fp", "fn")
    rows = [[row["iou"], Cell(row["ap"], _ap_interval(row)), *(row[key] for key in keys)] for row in curve]
    body = node("div", chart, table(columns, rows), css="charts")
    return section(
        "Score over IoU", body, lead="AP = TP/(TP+FP+FN), pooled over images; the band is its interval."
    )


def _ap_interval(row: dict[str, Any]) -> str:
    return f"{number(row['ap_low'])} – {number(row['ap_high'])}"


def strata_section(metrics: dict[str, Any]) -> Html:
    """Scores by object size and by every index column that was asked for."""
    blocks = []
    columns = [Column("images"), Column("objects")]
    columns += [Column(DEFINITIONS[name].label, bar=True) for name in STRATUM_SCORES]
    for column, values in metrics.get("strata", {}).items():
        rows = [
            [short_name(row["value"] or "(none)", ""), row["n_images"], row["n_truth"]]
            + [scored(row[name]) for name in STRATUM_SCORES]
            for row in values
        ]
        blocks += [node("h3", f"By {column}"), table([Column(column, numeric=False), *columns], rows)]
    if metrics.get("sizes"):
        blocks += [node("h3", "By object size"), _size_table(metrics["sizes"])]
    lead = "Where it is good and where it is not; hold the pointer over a score for its interval."
    return section("Strata", *blocks, lead=lead) if blocks else Html("")


def scored(score: dict[str, Any]) -> Cell:
    """A score for a table cell, with its interval as the tooltip."""
    return Cell(score["value"], f"{number(score['low'])} – {number(score['high'])}")


def _size_table(sizes: Sequence[dict[str, Any]]) -> Html:
    names = ("ap_50", "recall_50", "precision_50", "matched_iou")
    columns = [
        Column("diameter, px"),
        Column("objects"),
        Column("FP", hint="predicted objects of this size without a partner"),
    ]
    columns += [Column(DEFINITIONS[name].label, bar=True) for name in names]
    rows = [
        [
            row["value"],
            _range(row),
            row["n_truth"],
            row["false_positives"],
            *(scored(row[name]) for name in names),
        ]
        for row in sizes
    ]
    return table([Column("size", numeric=False), *columns], rows)


def _range(row: dict[str, Any]) -> str:
    if row["to_px"] is None:
        return f"≥ {row['from_px']:.1f}"
    return f"{row['from_px']:.1f} – {row['to_px']:.1f}" if row["from_px"] else f"< {row['to_px']:.1f}"


def pictures_of(metrics: dict[str, Any], folder: Path) -> dict[str, Path]:
    """The comparisons that ``metrics.json`` names and that are still there, by image id."""
    paths = {name: folder / path for name, path in metrics.get("overlays", {}).items()}
    return {name: path for name, path in paths.items() if path.is_file()}


def picture_section(metrics: dict[str, Any], pictures: dict[str, Path]) -> Html:
    """Truth beside prediction of the worst images, with their scores."""
    if not pictures:
        return Html("")
    by_id = {row["id"]: row for row in metrics["images"]}
    figures = [_figure(by_id[name], path) for name, path in pictures.items() if name in by_id]
    legend = node(
        "div",
        *(
            node("span", node("i", css=css), text)
            for css, text in (
                ("found", "found"),
                ("missed", "missed"),
                ("false", "not in the truth"),
            )
        ),
        css="legend",
    )
    lead = "Truth on the left, prediction on the right; the images with the lowest DSB score first."
    return section("Pictures", legend, gallery(figures, "pairs"), lead=lead)


def image_section(images: Sequence[dict[str, Any]]) -> Html:
    """Every image with its scores and errors, the worst first."""
    columns = [Column("image", numeric=False), Column("objects"), Column("predicted")]
    columns += [Column(label, bar=bar) for label, bar in (("DSB", True), ("AP@.5", False), ("AP@.75", False))]
    columns += [Column(label) for label in ("AP@.9", "F1@.5", "PQ", "AJI", "Dice")]
    columns += [Column(kind, hint=text) for kind, (_, text, _) in ERRORS.items()]
    keys = ("n_truth", "n_predicted", "dsb", "ap_50", "ap_75", "ap_90", "f1_50", "pq", "aji", "dice", *ERRORS)
    ordered = sorted(images, key=lambda row: (row["dsb"], row["id"]))
    rows = [[short_name(row["id"]), *(row.get(key) for key in keys)] for row in ordered]
    return section("Images", table(columns, rows, search=len(rows) > 12), lead="The lowest DSB score first.")


def _figure(row: dict[str, Any], path: Path) -> Html:
    scores = f"DSB {number(row['dsb'])} · AP@.5 {number(row['ap_50'])} · {row['n_truth']} objects"
    errors = ", ".join(f"{row[kind]} {kind}" for kind in ERRORS if row[kind])
    caption = (
        short_name(row["id"]),
        node("br"),
        node("span", scores, f" · {errors}" if errors else "", css="figures"),
    )
    return picture(embed(path), caption, alt=row["id"])


def _verdict(test: dict[str, Any]) -> Html:
    if test["p_value"] is None or test["p_value"] >= 0.05:
        return node("span", "no clear difference", css="badge warn")
    better = test["difference"] > 0
    return node("span", "better" if better else "worse", css="badge" if better else "badge bad")


def _rule(metrics: dict[str, Any]) -> str:
    return "IoU > t" if metrics.get("strict") else "IoU ≥ t"
