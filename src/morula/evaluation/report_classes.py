"""Sections of a report on classes (organs): scores per class, fold and case, violins, time and memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from morula.evaluation.page import (
    Cell,
    Column,
    Content,
    Html,
    facts,
    gauge,
    node,
    number,
    picture,
    section,
    short_name,
    table,
    tile,
    tiles,
)
from morula.evaluation.pictures import embed
from morula.evaluation.report_evaluate import gallery
from morula.evaluation.semantic import SCORES
from morula.evaluation.violins import violin_chart


def class_sections(
    metrics: dict[str, Any], pictures: dict[str, Path], title: str = "Scores", lead: Content = ""
) -> list[Html]:
    """All sections, from what ``metrics.json`` holds."""
    return [
        _scores(metrics, title, lead),
        _folds(metrics),
        _violins(metrics["images"], list(metrics["classes"])),
        _pictures(metrics["images"], pictures),
        _cases(metrics["images"], list(metrics["classes"])),
        _effort(metrics),
        section("Definitions", facts([(label, text) for label, text in SCORES.values()])),
    ]


def _scores(metrics: dict[str, Any], title: str, lead: Content) -> Html:
    cards = [_tile(name, metrics["scores"][name]) for name in SCORES]
    columns = [
        Column("class", numeric=False),
        Column("label"),
        Column(f"tolerance, {metrics.get('tolerance_unit', 'mm')}", digits=1),
        Column("n"),
    ]
    for label, text in SCORES.values():
        columns += [Column(label, bar=True, hint=text), Column("±", hint="standard deviation over cases")]
    rows = []
    for name, row in metrics["classes"].items():
        scores = [part for key in SCORES for part in (_cell(row[key]), row[key]["deviation"])]
        rows.append([name, row["label"], row["tolerance_mm"], row["dice"]["n"], *scores])
    return section(title, tiles(cards), node("h3", "By class"), table(columns, rows), lead=lead)


def _tile(name: str, score: dict[str, Any]) -> Html:
    label, text = SCORES[name]
    note = (
        f"{number(score['low'])} – {number(score['high'])}" if score["value"] is not None else "not defined"
    )
    shown = gauge(score["value"], score["low"], score["high"])
    css = "main" if name == "dice" else ""
    return tile(f"Mean {label}", number(score["value"]), note, hint=text, gauge=shown, css=css)


def _cell(score: dict[str, Any]) -> Cell:
    return Cell(score["value"], f"{number(score['low'])} – {number(score['high'])}")


def _folds(metrics: dict[str, Any]) -> Html:
    """Mean and deviation per fold and class, as the paper's table 4."""
    if not metrics["folds"]:
        return Html("")
    names = list(metrics["classes"])
    columns = [Column("fold", numeric=False), Column("cases")]
    columns += [
        Column(f"{name}, {SCORES[key][0]}", numeric=False) for name in names for key in ("dice", "nsd")
    ]
    rows = [
        [
            str(fold["fold"]),
            fold["n_images"],
            *(_plus_minus(fold["classes"][name][key]) for name in names for key in ("dice", "nsd")),
        ]
        for fold in metrics["folds"]
    ]
    whole = [_plus_minus(metrics["classes"][name][key]) for name in names for key in ("dice", "nsd")]
    rows.append(["all", metrics["n_images"], *whole])
    return section("Folds", table(columns, rows), lead="Mean ± standard deviation over the fold's cases.")


def _plus_minus(score: dict[str, Any]) -> str:
    if score["deviation"] is None:
        return number(score["mean"])
    return f"{number(score['mean'])} ± {number(score['deviation'])}"


def _violins(images: Sequence[dict[str, Any]], names: Sequence[str]) -> Html:
    charts = []
    for key, (label, _) in SCORES.items():
        groups = [(name, _known(images, name, key)) for name in names]
        charts.append(node("div", node("h3", label), violin_chart(groups, label)))
    lead = "Every dot is a case, the line is the median; the number of cases stands behind the name."
    return section("Spread", node("div", *charts, css="charts"), lead=lead)


def spread_of_cases(comparison: dict[str, Any]) -> Html:
    """How the score that ranks is spread over the cases of a comparison, entrant by entrant."""
    main, definition = next(iter(comparison["definitions"].items()))
    groups = []
    for row in comparison["entrants"]:
        values = [case[main][row["name"]] for case in comparison["images"]]
        groups.append((row["name"], [value for value in values if value is not None]))
    lead = "Every dot is a case, the line is the median; the number of cases stands behind the name."
    label = definition["label"]
    chart = node("div", node("h3", label), violin_chart(groups, label))
    return section("Spread", node("div", chart, css="charts"), lead=lead)


def _known(images: Sequence[dict[str, Any]], name: str, key: str) -> list[float]:
    values = [row["classes"][name][key] for row in images]
    return [value for value in values if value is not None]


def _pictures(images: Sequence[dict[str, Any]], pictures: dict[str, Path]) -> Html:
    by_id = {row["id"]: row for row in images}
    figures = [
        picture(embed(path), (short_name(name), f" · mean Dice {number(by_id[name]['dice'])}"), alt=name)
        for name, path in pictures.items()
        if name in by_id
    ]
    lead = "Truth on the left, prediction on the right; the cases with the lowest Dice first."
    return section("Pictures", gallery(figures, "pairs"), lead=lead) if figures else Html("")


def _cases(images: Sequence[dict[str, Any]], names: Sequence[str]) -> Html:
    columns = [Column("case", numeric=False), Column("mean Dice", bar=True), Column("mean NSD")]
    for name in names:
        columns += [Column(f"{name}, Dice"), Column("NSD")]
        columns += [Column("ml", digits=1, hint="volume found"), Column("true ml", digits=1)]
    columns.append(Column("s", digits=1, hint="seconds of prediction"))
    keys = ("dice", "nsd", "predicted_ml", "truth_ml")
    ordered = sorted(images, key=lambda row: (row["dice"] is not None, row["dice"], row["id"]))
    rows = [
        [
            short_name(row["id"]),
            row["dice"],
            row["nsd"],
            *(row["classes"][name][key] for name in names for key in keys),
            row["seconds"],
        ]
        for row in ordered
    ]
    return section("Cases", table(columns, rows, search=len(rows) > 12), lead="The lowest Dice first.")


def _effort(metrics: dict[str, Any]) -> Html:
    seconds = [row["seconds"] for row in metrics["images"] if row["seconds"] is not None]
    rows = [("Peak memory", f"{number(metrics.get('peak_memory_mb'), 0)} MB")]
    if seconds:
        rows.append(
            ("Prediction", f"{sum(seconds) / len(seconds):.1f} s a case, {max(seconds):.1f} s at most")
        )
    known = seconds or metrics.get("peak_memory_mb")
    return section("Time and memory", facts(rows)) if known else Html("")
