"""The section of a training report about self-training, made of the files in the run folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from morula.evaluation.charts import histogram
from morula.evaluation.comparison import ALPHA
from morula.evaluation.page import (
    Column,
    Html,
    facts,
    join,
    node,
    number,
    picture,
    section,
    short_name,
    table,
)
from morula.evaluation.pictures import embed
from morula.evaluation.reliability import Reliability, read_reliability
from morula.evaluation.report_evaluate import gallery, read_json, scored
from morula.evaluation.summary import DEFINITIONS

EXAMPLES = 4
"""Pictures of the most, and of the least, reliable images."""

_METHODS = {
    "iterative": "Each teacher labelled all unlabelled images; its student went on with its weights.",
    "st++": "First the images on which the checkpoints of the teacher's training agree best were labelled,"
    " then the others by the better of teacher and first student; each student began afresh (ST++).",
}


def rounds_section(folder: Path) -> Html:
    """Rounds, their validation scores and, for ``st++``, the reliabilities; empty without ``rounds.json``.

    Args:
        folder: Run folder of the last round.

    Raises:
        InputError: A file is broken.
    """
    if not (folder / "rounds.json").is_file():
        return Html("")
    found = read_json(folder / "rounds.json")
    rows = found["rounds"]
    parts = [_round_table(rows), facts([("Last round against the teacher", verdict(found["gain"]))])]
    measured = read_reliability(folder / "reliability.csv")
    return section("Self-training", *parts, *_reliabilities(folder, measured), lead=_METHODS[found["method"]])


def verdict(gain: dict[str, Any] | None) -> str:
    """What the rounds changed, in words.

    Args:
        gain: Which score, its difference with 95 % interval and p-value; None: nothing was measured.
    """
    if gain is None:
        return "not measured: no image was held out"
    interval = f"{number(gain['low'])} to {number(gain['high'])}"
    name, change = DEFINITIONS[gain["score"]].label, number(gain["difference"])
    words = f"{name} {change} (95 % {interval}, p = {number(gain['p_value'])})"
    # The interval of very few images is far too narrow; the test knows how few they are.
    if gain["p_value"] >= ALPHA:
        return f"{words}: no clear difference"
    return f"{words}: {'better' if gain['difference'] > 0 else 'worse; keep the teacher'}"


def _round_table(rows: Sequence[dict[str, Any]]) -> Html:
    names = list(rows[0]["scores"])
    columns = [Column("", numeric=False), Column("labelled"), Column("of these held out")]
    columns += [Column("pseudo-labelled"), Column("steps")]
    columns += [Column(DEFINITIONS[name].label, bar=name == "dsb") for name in names]
    keys = ("name", "n_labelled", "n_validation", "n_pseudo", "steps")
    body = [[*(row[key] for key in keys), *_scores(row, names)] for row in rows]
    return table(columns, body)


def _scores(row: dict[str, Any], names: Sequence[str]) -> list[object]:
    return [scored(row["scores"][name]) if name in row["scores"] else None for name in names]


def _reliabilities(folder: Path, measured: Sequence[Reliability]) -> list[Html]:
    """How reliable the unlabelled images are, and pictures of both ends."""
    known = [row for row in measured if not row.failure]
    if not known:
        return []
    text = (
        "Mean F1 at IoU .5 between the prediction of each earlier checkpoint and that of the last one;"
        " the whole table: ",
        node("code", "reliability.csv"),
    )
    parts = [node("h3", "Reliability of the unlabelled images"), node("p", join(text))]
    parts.append(histogram([row.value for row in known], "reliability", y_name="images"))
    # Few images are not shown from both ends.
    half = min(EXAMPLES, len(known) // 2)
    for title, rows in (
        ("The most reliable", known[:half]),
        ("The least reliable", known[len(known) - half :]),
    ):
        figures = [figure for row in rows for figure in _figure(folder, row)]
        parts += [node("h3", title), gallery(figures)] if figures else []
    return parts


def _figure(folder: Path, row: Reliability) -> list[Html]:
    """The image with its pseudo-labels, where they were drawn."""
    drawn = sorted(folder.glob("pseudo_*"))
    paths = [path for path in (place / "overlays" / f"{row.image}.jpg" for place in drawn) if path.is_file()]
    if not paths:
        return []
    words = f"reliability {number(row.value)} · {row.objects} objects in the last checkpoint"
    caption = (short_name(row.image), node("br"), node("span", words, css="figures"))
    return [picture(embed(paths[0]), caption, alt=row.image)]
