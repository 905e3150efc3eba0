"""The report of a comparison, made of ``comparison.json``, the pictures beside it and the runs' journals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from morula.evaluation.charts import COLOURS, interval_chart
from morula.evaluation.comparison import ALPHA, p_text
from morula.evaluation.page import (
    Cell,
    Column,
    Html,
    document,
    duration,
    facts,
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
from morula.evaluation.report_classes import spread_of_cases
from morula.evaluation.report_curves import rival_curves
from morula.evaluation.report_evaluate import counted, foot, name_list, read_json
from morula.evaluation.report_train import read_journal
from morula.evaluation.statistics import Interval

UNFOLDED = 6
"""Disputed crops that are seen at once; the others open on a click."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class CompareReport:
    """What a comparison found."""

    comparison: dict[str, Any]
    """As in ``comparison.json``; its entrants stand best first."""

    journals: dict[str, list[dict[str, Any]]]
    """Lines of the journal of each recipe's first run."""

    folder: Path
    """Where the pictures lie."""

    @classmethod
    def load(cls, folder: Path) -> "CompareReport":
        """From the folder that `morula.training.compare.compare` wrote.

        Raises:
            InputError: There is no ``comparison.json``, or a file is broken.
        """
        comparison = read_json(folder / "comparison.json")
        first_runs = {row["name"]: row["runs"][0] for row in comparison["entrants"] if row.get("runs")}
        found = {
            name: sorted((folder / run).glob("fold_*/journal.jsonl")) for name, run in first_runs.items()
        }
        journals = {name: read_journal(paths[0]) for name, paths in found.items() if paths}
        return cls(comparison, journals, folder)

    @property
    def entrants(self) -> list[dict[str, Any]]:
        """The entrants, best first."""
        return self.comparison["entrants"]

    def page(self) -> str:
        """The whole page."""
        found = self.comparison
        parts = [self._warnings(), self._result(), self._scores(), self._strata(), self._tests()]
        parts += [spread_of_cases(found) if found["task"] == "semantic" else Html("")]
        parts += [self._pictures(), rival_curves(self.entrants, self.journals, self._label(self._main))]
        parts += [self._effort(), self._images(), self._about()]
        subtitle = f"{counted(len(self.entrants), 'entrant')} · fold {found['fold']} of {found['data']}"
        subtitle += f" · {counted(found['n_images'], 'test image')}"
        return document("Comparison", subtitle, [part for part in parts if part], foot())

    @property
    def _names(self) -> list[str]:
        """The scores, the one that ranks first."""
        return list(self.comparison["definitions"])

    @property
    def _main(self) -> str:
        return self._names[0]

    def _label(self, score: str) -> str:
        return self.comparison["definitions"][score]["label"]

    def _columns(self, scores: Sequence[str]) -> list[Column]:
        return [
            Column(self._label(name), hint=self.comparison["definitions"][name]["text"]) for name in scores
        ]

    def _colour(self, name: str) -> int:
        return [row["name"] for row in self.entrants].index(name)

    def _named(self, row: Row) -> Html:
        """An entrant with its colour and what has to be said of it."""
        chip = node("i", css=f"chip color-{self._colour(row['name']) % COLOURS}")
        name = short_name(row["name"])
        parts = [node("span", chip, name, css="entrant")]
        if row.get("undertrained"):
            hint = {
                "title": f"less than a third of the {number(row['planned_steps'])} steps it would be given"
            }
            parts += [" ", node("span", "undertrained", css="badge warn", attributes=hint)]
        if not row.get("runs"):
            parts += [" ", node("span", "labels", css="badge")]
        return join(parts)

    def _warnings(self) -> Html:
        failed, lost = self.comparison.get("failed", {}), self.comparison.get("left_out", {})
        lists = (
            ("error", f"{len(failed)} failed; the others were compared", failed),
            ("warning", f"{counted(len(lost), 'test image')} left out for everybody", lost),
        )
        return join(name_list(kind, title, list(rows.items())) for kind, title, rows in lists if rows)

    def _result(self) -> Html:
        found, best = self.comparison, self.entrants[0]
        verdict, score = found["verdict"], best["scores"][self._main]
        objects = "" if found["n_truth"] is None else f"{number(found['n_truth'])} objects"
        trained = next((row for row in self.entrants if row.get("runs")), {})
        cards = [
            tile(
                f"Best {self._label(self._main)}: {best['name']}",
                number(score["value"]),
                _range(score),
                css="main",
            ),
            tile("Test images", number(found["n_images"]), objects),
        ]
        if trained:
            n_validation = number(trained["n_validation"])
            cards += [
                tile("Training images", number(trained["n_training"]), f"and {n_validation} to validate"),
                tile("Time for each run", _budget(found["budget_s"]), counted(found["seeds"], "seed")),
            ]
        kind = "info" if verdict["winner"] else "warning"
        return section("Result", notice(kind, node("strong", verdict["text"])), tiles(cards))

    def _scores(self) -> Html:
        columns, names = [Column("entrant", numeric=False), *self._columns(self._names)], self._names
        best = {
            name: max(_known(row["scores"][name] for row in self.entrants), default=None) for name in names
        }
        rows = [
            [self._named(row), *(_cell(row["scores"][name], best[name]) for name in names)]
            for row in self.entrants
        ]
        lead = "On the same test images, with 95 % intervals over images; the best of each column is marked."
        if self.comparison["seeds"] > 1:
            lead += " Seeds are pooled: the pointer over a score shows each."
        return section(
            "Scores", self._chart(self._whole(), "charts"), table(columns, rows, css="whole dense"), lead=lead
        )

    def _whole(self) -> list[tuple[str, list[tuple[Row, Row]]]]:
        """The charts over all images: title, and entrant with score."""
        main, second, *_ = self._names
        names = (main, "f1_50" if "f1_50" in self._names else second)
        return [(self._label(name), [(row, row["scores"][name]) for row in self.entrants]) for name in names]

    def _chart(self, charts: Sequence[tuple[str, list[tuple[Row, Row]]]], css: str) -> Html:
        drawn = []
        for title, rows in charts:
            shown = [(row["name"], _interval(score)) for row, score in rows]
            chart = interval_chart(shown, title, [self._colour(name) for name, _ in shown])
            drawn.append(node("div", chart))
        return node("div", *drawn, css=css)

    def _strata(self) -> Html:
        blocks = []
        for column in self.entrants[0]["strata"]:
            by_value: dict[str, list[tuple[Row, Row]]] = {}
            for row in self.entrants:
                for part in row["strata"][column]:
                    by_value.setdefault(part["value"], []).append((row, part))
            charts = [
                (
                    f"{self._label(self._main)}, {value or '(none)'}",
                    [(row, part["scores"][self._main]) for row, part in rows],
                )
                for value, rows in by_value.items()
            ]
            blocks += [
                node("h3", f"By {column}"),
                self._chart(charts, "charts"),
                self._stratum(column, by_value),
            ]
        return (
            section("Strata", *blocks, lead="The same scores in each part of the test images.")
            if blocks
            else Html("")
        )

    def _stratum(self, column: str, by_value: Mapping[str, Sequence[tuple[Row, Row]]]) -> Html:
        names = [name for name in self._names if name in self.comparison["tested"]]
        columns = [Column(column, numeric=False), Column("entrant", numeric=False), Column("images")]
        columns += self._columns(names)
        rows = []
        for value, parts in by_value.items():
            best = {
                name: max(_known(part["scores"][name] for _, part in parts), default=None) for name in names
            }
            for row, part in parts:
                cells = (_cell(part["scores"][name], best[name]) for name in names)
                rows.append([value or "(none)", self._named(row), part["n_images"], *cells])
        return table(columns, rows)

    def _tests(self) -> Html:
        if len(self.entrants) < 2:
            return Html("")
        by_pair = {(test["first"], test["second"], test["score"]): test for test in self.comparison["tests"]}
        names = [row["name"] for row in self.entrants]
        columns = [
            Column("row minus column", numeric=False),
            *(Column(_short(name), hint=name) for name in names),
        ]
        rows = [
            [self._named(row), *(_difference(by_pair, row["name"], other, self._main) for other in names)]
            for row in self.entrants
        ]
        lead = (
            f"Differences of the {self._label(self._main)}, paired over images, with p-values of a two-sided"
            f" sign-flip test, corrected for all pairs (Holm); those with p < {ALPHA} are marked."
        )
        every = node("details", node("summary", "Every pair in every tested score"), self._all_tests())
        return section("Paired tests", table(columns, rows, css="whole matrix dense"), every, lead=lead)

    def _all_tests(self) -> Html:
        columns = [Column(title, numeric=False) for title in ("first", "second", "score")]
        columns += [Column("first minus second"), Column("95 % interval"), Column("p", digits=4)]
        columns += [Column("p, Holm", digits=4)]
        rows = [
            [
                *(short_name(test["first"]), short_name(test["second"]), self._label(test["score"])),
                *(test["difference"], _range(test), test["p_value"], test["p_holm"]),
            ]
            for test in self.comparison["tests"]
        ]
        return table(columns, rows, search=len(rows) > 12)

    def _pictures(self) -> Html:
        rows = [self._crop(row) for row in self.comparison.get("pictures", [])]
        if not rows:
            return Html("")
        kinds = (("found", "found"), ("missed", "missed"), ("false", "not in the truth"))
        legend = node("div", *(node("span", node("i", css=css), text) for css, text in kinds), css="legend")
        rest = rows[UNFOLDED:]
        more = [node("details", node("summary", f"{len(rest)} more", css="more"), *rest)] if rest else []
        score = "AP@.5" if self.comparison["task"] == "instances" else "mean Dice"
        lead = f"The same crops under all, where they disagree most, each modality in turn; with {score}."
        return section("Pictures", legend, *rows[:UNFOLDED], *more, lead=lead)

    def _crop(self, row: Row) -> Html:
        truth = picture(
            embed(self.folder / row["truth"]), node("strong", "Truth"), alt=f"truth of {row['id']}"
        )
        figures = [truth]
        for entrant in self.entrants:
            shown = row["entrants"][entrant["name"]]
            caption = (
                short_name(entrant["name"]),
                node("span", f" {number(shown['score'], 2)}", css="figures"),
            )
            alt = f"{entrant['name']} on {row['id']}"
            figures.append(picture(embed(self.folder / shown["picture"]), caption, alt=alt))
        return node("div", node("h3", short_name(row["id"])), node("div", *figures, css="gallery crops"))

    def _effort(self) -> Html:
        trained = [row for row in self.entrants if row.get("runs")]
        if not trained:
            return Html("")
        columns = [Column(title, numeric=False) for title in ("entrant", "network", "representation")]
        columns += [Column("parameters, M", digits=2), Column("GMAC per megapixel", digits=1)]
        columns += [Column("patch, px"), Column("batch"), Column("steps"), Column("minutes", digits=1)]
        rows = [
            [
                *(self._named(row), row["network"], row["representation"], row["parameters"] / 1e6),
                *(row.get("gmac_per_megapixel"), " × ".join(map(str, row["patch_size"])), row["batch_size"]),
                *(round(row["steps"]), row["minutes"]),
            ]
            for row in trained
        ]
        lead = (
            "Minutes are of training alone, pauses left out. Runs of less than a third of the steps that the"
            " planner gives them without a budget are marked undertrained: their scores tell what the time"
            " allows, not what the method can do."
        )
        return section("Effort", table(columns, rows, css="whole"), lead=lead)

    def _images(self) -> Html:
        names = [row["name"] for row in self.entrants]
        objects = [] if self.comparison["n_truth"] is None else ["n_truth"]
        columns = [Column("image", numeric=False), *(Column("objects") for _ in objects)]
        columns += [Column(_short(name), hint=name) for name in names]
        rows = []
        for row in sorted(self.comparison["images"], key=lambda row: min(_defined(row[self._main].values()))):
            scores = (row[self._main][name] for name in names)
            rows.append([short_name(row["id"]), *(row[key] for key in objects), *scores])
        lead = f"{self._label(self._main)} of each test image, the worst first."
        return section("Images", table(columns, rows, css="dense", search=len(rows) > 12), lead=lead)

    def _about(self) -> Html:
        found = self.comparison
        given = " ".join(found["overrides"])
        budget = _budget(found["budget_s"])
        rows: list[tuple[str, Html | str]] = [
            ("Data", node("code", found["data"])),
            ("Test images", f"fold {found['fold']}; used for nothing but these scores"),
            ("Training", f"{budget} a run, {counted(found['seeds'], 'seed')}, on {found['device']}"),
            *([("Set for all", node("code", given))] if given else []),
            ("Weights, decoder", "chosen on validation images, a tenth of the training images"),
            *([("A pair matches", "IoU ≥ t")] if found["task"] == "instances" else []),
            ("Intervals", "95 %, percentile bootstrap over images, 2000 resamples, fixed seed"),
            (
                "Tests",
                f"{', '.join(map(self._label, found['tested']))}; sign-flip permutation over images",
            ),
            ("Winner", f"clearly better than every other entrant in the {self._label(self._main)}"),
            *((row["label"], row["text"]) for row in found["definitions"].values()),
        ]
        return section("Protocol and definitions", facts(rows))


def _interval(score: Row) -> Interval:
    return Interval(*(float("nan") if score[key] is None else score[key] for key in ("value", "low", "high")))


def _defined(values: Iterable[float | None]) -> list[float]:
    """The values that there are; 1 when there is none."""
    return [value for value in values if value is not None] or [1.0]


def _known(scores: Any) -> list[float]:
    return [score["value"] for score in scores if score["value"] is not None]


def _cell(score: Row, best: float | None) -> Cell:
    """A score above its interval; the best one is marked, seeds stand in the tooltip."""
    seeds = score.get("seeds", [])
    hint = "seeds: " + ", ".join(number(value) for value in seeds) if len(seeds) > 1 else ""
    marked = score["value"] is not None and score["value"] == best
    return Cell(score["value"], hint, _range(score), "best" if marked else "")


def _range(score: Row) -> str:
    if score["low"] is None:
        return ""
    return f"{number(score['low'])} – {number(score['high'])}"


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}…"


def _difference(by_pair: Mapping[tuple[str, str, str], Row], row: str, column: str, score: str) -> object:
    """How far `row` is ahead of `column`, with its p-value."""
    if row == column:
        return None
    test, sign = by_pair.get((row, column, score)), 1
    if test is None:
        test, sign = by_pair[column, row, score], -1
    if test["difference"] is None:
        return None
    value, clear = sign * test["difference"], test["p_holm"] is not None and test["p_holm"] < ALPHA
    css = ("ahead" if value > 0 else "behind") if clear else ""
    return Cell(
        value, f"95 % of {test['first']} minus {test['second']}: {_range(test)}", p_text(test["p_holm"]), css
    )


def _budget(seconds: float | None) -> str:
    if seconds is None:
        return "as planned"
    return duration(seconds).removesuffix(" 0 s").removesuffix(" 0 min")
