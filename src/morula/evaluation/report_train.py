"""The report of a training, made of the files in the run folder; what is not there yet is left out."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from morula.errors import InputError
from morula.evaluation.charts import Axes, Line, histogram, line_chart
from morula.evaluation.page import (
    Column,
    Html,
    Number,
    document,
    facts,
    join,
    node,
    notice,
    number,
    section,
    short_name,
    table,
    tile,
    tiles,
)
from morula.evaluation.report_calibration import calibration_section
from morula.evaluation.report_classes import class_sections
from morula.evaluation.report_evaluate import (
    counted,
    curve_section,
    foot,
    image_section,
    label_of,
    name_list,
    picture_section,
    pictures_of,
    read_json,
    score_section,
    strata_section,
)
from morula.evaluation.report_rounds import rounds_section
from morula.evaluation.report_tuning import tuning_section
from morula.prediction.scorer import Scorer
from morula.spec import flat, read_reasons

MOST_POINTS = 300
"""Points of a curve; longer journals are averaged down to it."""


SCORES = {"dsb": "DSB score", "score": "DSB score", "ap50": "AP@.5", "ap75": "AP@.75", "ap90": "AP@.9"}
"""Validation scores of the journal by their keys."""


@dataclass(frozen=True)
class TrainReport:
    """What a training left in its run folder."""

    plan: str
    """Text of ``plan.toml``, each decision under its reason."""

    journals: dict[str, list[dict[str, Any]]]
    """Lines of ``fold_K/journal.jsonl`` by fold."""

    metrics: dict[str, Any] = field(default_factory=dict)
    """``metrics.json``: scores on validation images; empty when nothing was held out."""

    fingerprint: dict[str, Any] = field(default_factory=dict)
    """``fingerprint.json``: the facts about the data set."""

    trials: list[dict[str, Any]] = field(default_factory=list)
    """``tuning.json``: settings of the decoder that were tried."""

    scorer: Scorer | None = None
    """``scorer.safetensors``: what chooses objects among nested regions."""

    problems: list[dict[str, Any]] = field(default_factory=list)
    """``check.json``: what the doctor found."""

    request: dict[str, Any] = field(default_factory=dict)
    """``request.toml``: what was asked for."""

    pictures: dict[str, Path] = field(default_factory=dict)
    """Comparison of truth and prediction by validation image, the worst first."""

    rounds: Html = field(default_factory=Html)
    """Section about self-training; empty when the run is none."""

    @classmethod
    def load(cls, folder: Path) -> "TrainReport":
        """From a run folder.

        Raises:
            InputError: There is no ``plan.toml``, or a file is broken.
        """
        plan = folder / "plan.toml"
        if not plan.is_file():
            msg = f"{folder} is no run folder (no plan.toml). Give the folder that `morula train` wrote."
            raise InputError(msg)
        tuning, request = folder / "tuning.json", folder / "request.toml"
        metrics = _optional(folder / "metrics.json")
        return cls(
            plan=plan.read_text(encoding="utf-8"),
            journals={
                path.parent.name: read_journal(path) for path in sorted(folder.glob("fold_*/journal.jsonl"))
            },
            metrics=metrics,
            fingerprint=_optional(folder / "fingerprint.json"),
            trials=json.loads(tuning.read_text(encoding="utf-8")) if tuning.is_file() else [],
            scorer=Scorer.load(folder),
            problems=_optional(folder / "check.json").get("problems", []),
            request=tomllib.loads(request.read_text(encoding="utf-8")) if request.is_file() else {},
            pictures=pictures_of(metrics, folder),
            rounds=rounds_section(folder),
        )

    @property
    def decisions(self) -> dict[str, Any]:
        """The plan's values by dotted key."""
        return flat(tomllib.loads(self.plan))

    @property
    def _steps(self) -> tuple[float, float]:
        """First and last step of all folds."""
        return 0.0, float(
            max((line["step"] for lines in self.journals.values() for line in lines), default=1)
        )

    def page(self) -> str:
        """The whole page."""
        parts = [self._found_by_doctor("error"), self._overview(), self.rounds]
        if "more_labels" in self.metrics:
            parts.append(notice("info", self.metrics["more_labels"]["text"]))
        if self.metrics.get("task") == "semantic":
            parts += class_sections(self.metrics, self.pictures, "Validation scores", _how_validated())
        elif self.metrics:
            parts += [score_section(self.metrics, "Validation scores", _how_validated())]
            parts += [curve_section(self.metrics["curve"]), strata_section(self.metrics)]
            parts += [picture_section(self.metrics, self.pictures), calibration_section(self.metrics)]
        parts += [self._curves(), tuning_section(self.trials, self.scorer)]
        parts += [self._plan(), self._ceilings(), self._data()]
        parts += [image_section(self.metrics["images"])] if "curve" in self.metrics else []
        kinds = [str(self.decisions.get(f"{part}.kind", "")) for part in ("representation", "network")]
        subtitle = f"recipe {self.decisions.get('recipe', 'auto')} · {' · '.join(kinds)}"
        return document("Training", subtitle, [part for part in parts if part], foot())

    def _found_by_doctor(self, severity: str) -> Html:
        messages = [
            str(item.get("message", "")) for item in self.problems if item.get("severity") == severity
        ]
        what = "left out of training" if severity == "error" else "worth a look"
        title = f"{counted(len(messages), 'finding')} of the doctor, {what}"
        return name_list(severity, title, [("", message) for message in messages]) if messages else Html("")

    def _overview(self) -> Html:
        facts_, decisions = self.fingerprint, self.decisions
        steps = int(self._steps[1]) if self.journals else 0
        planned = decisions.get("training.steps")
        cards = []
        if self.metrics:
            name = "dice" if self.metrics.get("task") == "semantic" else "dsb"
            score, label = self.metrics["scores"][name], label_of(name, self.metrics)
            interval = f"{number(score['low'])} – {number(score['high'])}"
            cards.append(tile(f"{label}, validation", number(score["value"]), interval))
        if facts_:
            cards.append(
                tile("Labelled images", number(facts_.get("n_labelled")), f"of {facts_.get('n_images')}")
            )
            diameter = facts_.get("diameter_px", {}).get("p50")
            cards.append(
                tile("Objects", number(facts_.get("n_objects")), f"median diameter {number(diameter, 1)} px")
            )
        cards.append(tile("Steps", number(steps), f"of {number(planned)} planned"))
        cards.append(tile("Folds", number(len(self.journals)), "one network each"))
        patch = " × ".join(map(str, decisions.get("training.patch_size", [])))
        cards.append(tile("Batch", number(decisions.get("training.batch_size")), f"patches of {patch} px"))
        rows = [
            (name, node("code", _brief(value)))
            for name, value in self.request.items()
            if value not in ([], {}, "")
        ]
        asked = [node("h3", "Asked for"), facts(rows)] if rows else []
        return section("Overview", tiles(cards), *asked)

    def _curves(self) -> Html:
        charts = [
            ("Loss", line_chart(self._lines("loss"), Axes("step", "loss", self._steps, log_y=True))),
            (
                "Loss terms",
                line_chart(self._term_lines(), Axes("step", "loss term", self._steps, log_y=True)),
            ),
            (
                "Validation",
                line_chart(self._validation_lines(), Axes("step", "score", self._steps, (0.0, 1.0))),
            ),
            (
                "Learning rate",
                line_chart(self._lines("learning_rate")[:1], Axes("step", "rate", self._steps)),
            ),
        ]
        drawn = [node("div", node("h3", title), chart) for title, chart in charts if chart]
        return section("Training curves", node("div", *drawn, css="charts")) if drawn else Html("")

    def _lines(self, key: str) -> list[Line]:
        """One line per fold."""
        lines = []
        for fold, journal in self.journals.items():
            points = [(row["step"], row[key]) for row in journal if key in row]
            lines.append(thinned(fold.replace("_", " "), points))
        return lines

    def _term_lines(self) -> list[Line]:
        """One line per loss term, of the first fold that has any."""
        for journal in self.journals.values():
            rows = [row for row in journal if row.get("terms")]
            names = list(rows[0]["terms"]) if rows else []
            if len(names) > 1:
                return [
                    thinned(name, [(row["step"], row["terms"].get(name)) for row in rows]) for name in names
                ]
        return []

    def _validation_lines(self) -> list[Line]:
        lines = []
        for fold, journal in self.journals.items():
            rows = [row for row in journal if row.get("validation")]
            keys = [key for key in SCORES if rows and key in rows[0]["validation"]]
            # With several folds the main score of each is enough to be read.
            for key in keys[:1] if len(self.journals) > 1 else keys:
                own = SCORES[key] if "ap50" in keys else "Dice"  # of classes there is nothing else
                name = fold.replace("_", " ") if len(self.journals) > 1 else own
                points = [(row["step"], row["validation"].get(key)) for row in rows]
                lines.append(thinned(name, points, dots=True))
        return lines

    def _plan(self) -> Html:
        decisions, reasons = self.decisions, read_reasons(self.plan)
        rows = [
            [node("code", key), node("code", _brief(_value(decisions, key))), reason]
            for key, reason in reasons.items()
        ]
        columns = [
            Column("decision", numeric=False),
            Column("value", numeric=False),
            Column("why", numeric=False),
        ]
        whole = node("details", node("summary", "The whole plan.toml"), node("pre", self.plan))
        return section(
            "Plan", table(columns, rows, css="whole"), whole, lead="Every decision with its reason."
        )

    def _ceilings(self) -> Html:
        keys = ("dsb_score", "ap50", "ap75", "ap90", "ms_per_megapixel")
        rows = [
            [node("code", row["representation"]), *(row.get(key) for key in keys)]
            for row in self.fingerprint.get("ceilings", [])
        ]
        if not rows:
            return Html("")
        columns = [Column("representation", numeric=False), Column("DSB score", bar=True), Column("AP@.5")]
        columns += [Column("AP@.75"), Column("AP@.9"), Column("ms per megapixel", digits=0)]
        lead = "What each representation keeps of the labels, encoded and decoded without a network."
        return section("Ceilings", table(columns, rows), lead=lead)

    def _data(self) -> Html:
        found = self.fingerprint
        if not found:
            return Html("")
        diameters = [image["diameter_px"] for image in found.get("images", []) if image.get("diameter_px")]
        chart = histogram(diameters, "median object diameter of an image, px", y_name="images")
        side = node("div", facts(_data_facts(found)))
        modalities = found.get("modalities", [])
        kinds = [node("h3", "Modalities"), _modality_table(modalities)] if len(modalities) > 1 else []
        body = node("div", side, node("div", chart), css="charts")
        return section("Data", body, *kinds, self._found_by_doctor("warning"))


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Lines of a journal; a last line that was cut off by a kill is passed over.

    Raises:
        InputError: Another line is broken.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for position, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if position == len(lines):
                break
            msg = f"{path}, line {position} is not JSON: {error}. Delete the line."
            raise InputError(msg) from error
    return rows


def _how_validated() -> Html:
    words = ("Not trained on, but the weights and the decoder were chosen on these images; ",)
    words += ("for an unbiased figure, score a test set with ", node("code", "morula evaluate"), ". ")
    return join(words)


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def thinned(name: str, points: Sequence[tuple[Number, Number | None]], *, dots: bool = False) -> Line:
    """A line of at most `MOST_POINTS` points; neighbours are averaged."""
    known = [(float(x), float(y)) for x, y in points if y is not None]
    step = -(-len(known) // MOST_POINTS) or 1
    groups = [known[start : start + step] for start in range(0, len(known), step)]
    means = [tuple(sum(column) / len(group) for column in zip(*group, strict=True)) for group in groups]
    return Line(name, [x for x, _ in means], [y for _, y in means], dots=dots)


def _value(decisions: Mapping[str, Any], key: str) -> Any:
    """The value of a decision; of a whole table, its kind."""
    return decisions[key] if key in decisions else decisions.get(f"{key}.kind", "")


def _brief(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key} = {_brief(item)}" for key, item in value.items())
    if isinstance(value, list):
        return (
            " × ".join(map(str, value))
            if all(isinstance(v, int) for v in value)
            else ", ".join(map(str, value))
        )
    return str(value)


def _data_facts(found: Mapping[str, Any]) -> list[tuple[str, Html | str]]:
    diameter = found.get("diameter_px", {})
    spacing = found.get("spacing_um")
    shape = " × ".join(map(str, found.get("shape_median", ())))
    return [
        ("Images", f"{number(found.get('n_images'))}, {number(found.get('n_labelled'))} with labels"),
        ("Image size", f"{shape} px, median"),
        ("Channels", ", ".join(f"{name} ({count})" for name, count in found.get("channels", {}).items())),
        ("Pixel size", " × ".join(f"{size:g}" for size in spacing) + " µm" if spacing else "not known"),
        ("Objects", number(found.get("n_objects"))),
        ("Diameter", f"{number(diameter.get('p5'), 1)} – {number(diameter.get('p95'), 1)} px (5 to 95 %)"),
        ("Touching", f"{100 * found.get('touching', 0):.0f} % of the objects"),
        ("Density", f"{100 * found.get('density', 0):.0f} % of the pixels lie in objects"),
    ]


def _modality_table(modalities: Sequence[Mapping[str, Any]]) -> Html:
    columns = [Column("modality", numeric=False), Column("images"), Column("labelled"), Column("objects")]
    columns += [
        Column("median diameter, px", digits=1),
        Column("touching", bar=True, digits=2),
        Column("density", digits=2),
    ]
    flat = [{**row, "diameter": row.get("diameter_px", {}).get("p50")} for row in modalities]
    keys = ("n_images", "n_labelled", "n_objects", "diameter", "touching", "density")
    rows = [[short_name(row["name"], ""), *(row.get(key) for key in keys)] for row in flat]
    return table(columns, rows)
