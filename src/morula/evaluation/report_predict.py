"""The report of a prediction, made of ``run.json``, ``measurements.csv`` and the overlays in its folder."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from morula.errors import InputError
from morula.evaluation.charts import histogram
from morula.evaluation.page import (
    Column,
    Html,
    Number,
    document,
    duration,
    facts,
    join,
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
from morula.evaluation.report_evaluate import counted, foot, gallery, name_list, read_json
from morula.prediction.reliability import certainty, look_first

MOST_PICTURES = 50
"""The least reliable images that are shown in full; the others stand in the table."""

PICTURE_PX = 800
"""Longest side of an embedded overlay."""

RELIABILITY = (
    "Reliability is the F1 score at IoU 0.5 that is expected of an image, estimated without any truth: from "
    "the confidence of its objects, undecided borders, and how much it is like the training images."
)

MEASURED = (
    ("equivalent_diameter_um", "equivalent diameter, µm"),
    ("equivalent_diameter_px", "equivalent diameter, px"),
    ("area_um2", "area, µm²"),
    ("area_px", "area, px"),
    ("volume_um3", "volume, µm³"),
    ("volume_px", "volume, px"),
    ("eccentricity", "eccentricity"),
    ("solidity", "solidity"),
    ("confidence", "confidence"),
)
"""Columns of ``measurements.csv`` that are drawn, where they exist; of a size, only the first."""

SIZES = ("equivalent_diameter", "area", "volume")

MOST_INTENSITIES = 3
"""Channels whose mean intensity is drawn."""


@dataclass(frozen=True)
class PredictReport:
    """What a prediction left in its folder."""

    run: dict[str, Any]
    """As in ``run.json``: command, versions, model, plan hash and one row per image."""

    measurements: dict[str, list[float]]
    """Columns of ``measurements.csv`` that are drawn, over all objects."""

    folder: Path
    """Where the overlays lie."""

    @classmethod
    def load(cls, folder: Path) -> "PredictReport":
        """From the folder that `predict` wrote.

        Raises:
            InputError: There is no ``run.json``, or it is broken.
        """
        return cls(read_json(folder / "run.json"), read_columns(folder / "measurements.csv"), folder)

    @property
    def done(self) -> list[dict[str, Any]]:
        """Rows of the images that were segmented, the least reliable first."""
        rows = [row for row in self.run.get("images", []) if not row.get("failure")]
        return sorted(rows, key=lambda row: (certainty(row), row["id"]))

    @property
    def failed(self) -> list[tuple[str, str]]:
        """Images that failed, with their message."""
        return [(row["id"], row["failure"]) for row in self.run.get("images", []) if row.get("failure")]

    def page(self) -> str:
        """The whole page."""
        review = look_first(self.done)
        reasons = {row["id"]: why for row, why in review}
        parts = [
            self._failures(),
            self._warnings(),
            self._overview(review),
            _first_section(review),
            self._pictures(reasons),
            self._table(reasons),
            self._distributions(),
            self._about(),
        ]
        objects = sum(row.get("n_objects") or 0 for row in self.done)
        found = f"{counted(objects, 'object')} in {counted(len(self.done), 'image')}"
        subtitle = f"{found} · model {self.run.get('model', '')}"
        return document("Segmentation", subtitle, [part for part in parts if part], foot())

    def _failures(self) -> Html:
        if not self.failed:
            return Html("")
        count = len(self.failed)
        return name_list(
            "error", f"{count} image{'s' if count > 1 else ''} failed; the others are done", self.failed
        )

    def _warnings(self) -> Html:
        messages = list(self.run.get("notes") or ())
        messages += [message for row in self.done for message in row.get("warnings", ())]
        title = counted(len(messages), "warning")
        return name_list("warning", title, [("", message) for message in messages]) if messages else Html("")

    def _overview(self, review: Sequence[object]) -> Html:
        done = self.done
        counts = [row.get("n_objects") or 0 for row in done]
        diameters = [value for row in done if (value := row.get("median_diameter_px"))]
        reliabilities = [value for row in done if (value := row.get("reliability")) is not None]
        seconds = sum(row.get("seconds") or 0.0 for row in done)
        cards = [
            tile("Images", number(len(done)), f"{len(self.failed)} failed" if self.failed else "all done"),
            tile("Objects", number(sum(counts)), f"median {number(_median(counts), 0)} per image"),
            tile("Diameter", f"{number(_median(diameters), 1)} px", "median over images"),
            tile("Reliability", number(_median(reliabilities), 2), "median over images", hint=RELIABILITY),
            tile("To look at", number(len(review)), "images, see below" if review else "nothing stands out"),
            tile("Time", duration(seconds), f"{seconds / max(1, len(done)):.2f} s per image"),
        ]
        return section("Overview", tiles(cards))

    def _pictures(self, reasons: Mapping[str, list[str]]) -> Html:
        rows = [row for row in self.done if row.get("overlay") and (self.folder / row["overlay"]).is_file()]
        if not rows:
            return Html("")
        shown = rows[:MOST_PICTURES]
        figures = [_figure(row, self.folder / row["overlay"], reasons.get(row["id"], [])) for row in shown]
        lead = "The least reliable first." if len(shown) > 1 else ""
        if len(rows) > len(shown):
            kept = f"The {len(shown)} least reliable of {number(len(rows))} images"
            lead = f"{kept}; the others lie in the folder."
        return section("Pictures", gallery(figures), lead=lead)

    def _table(self, reasons: Mapping[str, list[str]]) -> Html:
        columns = [
            Column("image", numeric=False),
            Column("objects"),
            Column("median diameter, px", digits=1),
            Column("zoom", digits=3),
            Column("mean confidence", bar=True, digits=2),
            Column("reliability", bar=True, digits=2, hint=RELIABILITY),
            Column("seconds", digits=2),
            Column("look at", numeric=False),
        ]
        keys = ["n_objects", "median_diameter_px", "zoom", "mean_confidence", "reliability", "seconds"]
        if any(row.get("channel") for row in self.done):
            columns.insert(4, Column("colour alone", numeric=False))
            keys.insert(3, "channel")
        rows = [
            [short_name(row["id"]), *(row.get(key) for key in keys), _badges(reasons.get(row["id"], []))]
            for row in self.done
        ]
        rows += [
            [short_name(name), *[None] * len(keys), node("span", "failed", css="badge bad")]
            for name, _ in self.failed
        ]
        if not rows:
            return Html("")
        return section(
            "Images", table(columns, rows, search=len(rows) > 12), lead="A click on a title sorts."
        )

    def _distributions(self) -> Html:
        charts = [
            node("div", histogram(self.measurements[name], title))
            for name, title in drawn_columns(self.measurements)
        ]
        if not charts:
            return Html("")
        lead = "Over all objects; the outermost half percent on either side is gathered in the end bars."
        return section("Measurements", node("div", *charts, css="charts"), lead=lead)

    def _about(self) -> Html:
        run = self.run
        rows: list[tuple[str, Html | str]] = [("Command", node("pre", _command(run.get("command", ""))))]
        names = {"model": "Model", "plan_hash": "Plan", "weights_hash": "Weights", "device": "Device"}
        names |= {"started": "Started", "seconds": "Wall time, s"}
        rows += [(label, node("code", number(run[key]))) for key, label in names.items() if run.get(key)]
        engines = sorted({str(row["engine"]) for row in self.done if row.get("engine")})
        rows += [("Engine", node("code", ", ".join(engines)))] if engines else []
        versions = run.get("versions") or {}
        if isinstance(versions, Mapping) and versions:
            listed = ", ".join(f"{name} {version}" for name, version in versions.items())
            rows.append(("Versions", listed))
        options = {
            name: value for name, value in (run.get("options") or {}).items() if value not in (None, "", [])
        }
        if options:
            rows.append(
                ("Options", node("code", ", ".join(f"{name} = {value}" for name, value in options.items())))
            )
        return section("Run", facts(rows))


def read_columns(path: Path) -> dict[str, list[float]]:
    """The numbers of ``measurements.csv`` that are drawn, column by column; nothing where there is no file.

    Raises:
        InputError: The file cannot be read.
    """
    if not path.is_file():
        return {}
    columns: dict[str, list[float]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            wanted = [name for name in reader.fieldnames or () if _is_drawn(name)]
            for row in reader:
                for name in wanted:
                    value = _float(row.get(name))
                    if math.isfinite(value):
                        columns.setdefault(name, []).append(value)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path} cannot be read: {error}. Run the prediction again."
        raise InputError(msg) from error
    return columns


def drawn_columns(columns: Mapping[str, Sequence[float]]) -> list[tuple[str, str]]:
    """Which columns get a chart, with titles; a size in micrometres is drawn when all objects have it."""
    chosen: list[tuple[str, str]] = []
    most = max((len(values) for values in columns.values()), default=0)
    seen: set[str] = set()
    for name, title in MEASURED:
        family = next((size for size in SIZES if name.startswith(size)), name)
        whole = name in columns and (len(columns[name]) == most or not _is_micrometres(name))
        if whole and family not in seen:
            seen.add(family)
            chosen.append((name, title))
    intensities = [name for name in columns if _is_intensity(name)][:MOST_INTENSITIES]
    return chosen + [(name, f"intensity, {name.removeprefix('mean_')}") for name in intensities]


def _first_section(review: Sequence[tuple[Mapping[str, Any], list[str]]]) -> Html:
    if not review:
        return Html("")
    columns = [
        Column("image", numeric=False),
        Column("objects"),
        Column("reliability", bar=True, digits=2, hint=RELIABILITY),
        Column("why", numeric=False),
    ]
    items = [
        [short_name(row["id"]), row.get("n_objects"), row.get("reliability"), _badges(reasons)]
        for row, reasons in review
    ]
    lead = f"The least reliable first. {RELIABILITY}"
    return section("Look at these first", table(columns, items, search=len(items) > 12), lead=lead)


def _badges(reasons: Iterable[str]) -> Html:
    return join(join((node("span", reason, css="badge warn"), " ")) for reason in reasons)


def _figure(row: Mapping[str, Any], path: Path, reasons: Sequence[str]) -> Html:
    shown = [counted(row.get("n_objects") or 0, "object")]
    for key, name in (("mean_confidence", "confidence"), ("reliability", "reliability")):
        if row.get(key) is not None:
            shown.append(f"{name} {number(float(row[key]), 2)}")
    lines = [short_name(row["id"]), node("span", " · ".join(shown), css="figures")]
    caption = join(line for part in lines for line in (part, node("br")))
    return picture(embed(path, longest_px=PICTURE_PX), (caption, _badges(reasons)), alt=row["id"])


def _median(values: Sequence[Number]) -> float | None:
    known = sorted(value for value in values if value is not None and value >= 0)
    if not known:
        return None
    middle = len(known) // 2
    return float(known[middle] if len(known) % 2 else (known[middle - 1] + known[middle]) / 2)


def _command(command: Any) -> str:
    return " ".join(map(str, command)) if isinstance(command, list) else str(command)


def _is_micrometres(name: str) -> bool:
    return name.rstrip("23").endswith("_um")


def _is_intensity(name: str) -> bool:
    return name.startswith("mean_") and not name.startswith("mean_confidence")


def _is_drawn(name: str) -> bool:
    return name in dict(MEASURED) or _is_intensity(name)


def _float(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
