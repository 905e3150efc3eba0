"""The pieces of a report: HTML that is safe by construction, tables, tiles and cards."""

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

Number = float | int
"""A number for people; whole ones are shown without a point."""

LONGEST_NAME = 34
"""Names longer than this are shortened in the middle; the whole name stands in the tooltip."""


class Html(str):
    """Markup; every other text is escaped before it enters a page."""

    __slots__ = ()


Content = str | Html | Iterable["Content"]
"""What may stand inside an element."""

VOID = ("img", "input", "br", "meta", "circle", "rect", "path", "line", "polyline", "polygon")


def node(name: str, *children: Content, css: str = "", attributes: Mapping[str, str] | None = None) -> Html:
    """One element; text in `children` and `attributes` is escaped.

    >>> node("b", "a < b", css="name")
    '<b class="name">a &lt; b</b>'
    """
    pairs = ({"class": css} if css else {}) | dict(attributes or {})
    head = name + "".join(f' {key}="{html.escape(value)}"' for key, value in pairs.items())
    if name in VOID and not children:
        return Html(f"<{head}>" if name in ("img", "input", "br", "meta") else f"<{head}/>")
    return Html(f"<{head}>{join(children)}</{name}>")


def join(children: Iterable[Content]) -> Html:
    """Children one after the other, text escaped."""
    return Html("".join(_markup(child) for child in children))


def _markup(child: Content) -> str:
    if isinstance(child, Html):
        return str(child)
    if isinstance(child, str):
        return html.escape(child)
    return join(child)


def number(value: object, digits: int = 3) -> str:
    """A number as people read it: thousands apart, fixed digits after the point, a dash for nothing.

    >>> number(12345), number(0.61249), number(None)
    ('12\u202f345', '0.612', '–')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, int):
        return _apart(f"{value:,}")
    if isinstance(value, float):
        return _apart(f"{value:,.{digits}f}")
    return str(value)


def _apart(text: str) -> str:
    """A thin space between thousands, and a true minus."""
    return text.replace(",", "\u202f").replace("-", "\u2212")


def duration(seconds: Number) -> str:
    """Seconds as a person says them.

    >>> duration(0.42), duration(8.4), duration(90.0), duration(7260.0)
    ('0.4 s', '8 s', '1 min 30 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 1 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def short_name(name: str, css: str = "name") -> Html:
    """A name that fits into a table: its middle is left out when it is long, its tooltip holds it whole."""
    if len(name) <= LONGEST_NAME:
        return node("span", name, css=css)
    head = 3 * LONGEST_NAME // 5
    shown = f"{name[:head]}…{name[head + 1 - LONGEST_NAME :]}"
    return node("span", shown, css=css, attributes={"title": name})


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    numeric: bool = True
    """Numbers stand on the right and sort as numbers."""

    bar: bool = False
    """Whether a bar from 0 to 1 lies behind the number."""

    digits: int = 3
    """Digits after the point."""

    hint: str = ""
    """Explanation, as a tooltip of the title."""


@dataclass(frozen=True)
class Cell:
    """A value with what goes beyond it."""

    value: object
    hint: str = ""
    """Tooltip."""

    note: str = ""
    """A small line below it."""

    css: str = ""
    """How it is marked: ``best``, ``ahead`` or ``behind``."""


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[object]], *, css: str = "", search: bool = False
) -> Html:
    """A table that sorts on a click on a title; wide ones scroll inside their frame.

    Args:
        columns: Titles and kinds.
        rows: One value per column: numbers, text (escaped), `Html`, or one of these with a tooltip (`Cell`).
        css: Further classes.
        search: Whether a field above filters the rows.
    """
    heads = [_head(column) for column in columns]
    body = [node("tr", *(_cell(*pair) for pair in zip(columns, row, strict=True))) for row in rows]
    inner = node("table", node("thead", node("tr", *heads)), node("tbody", *body))
    framed = node("div", inner, css=f"scroll {css}".strip(), attributes={"tabindex": "0"})
    if not search:
        return framed
    field = {"type": "search", "placeholder": f"Filter {len(body)} rows …", "aria-label": "Filter rows"}
    return node("div", node("input", attributes=field), framed, css="searchable")


def _head(column: Column) -> Html:
    attributes = {"scope": "col", "tabindex": "0", "aria-sort": "none"}
    attributes |= {"title": column.hint} if column.hint else {}
    return node("th", column.title, css="number" if column.numeric else "", attributes=attributes)


def _cell(column: Column, given: object) -> Html:
    cell = given if isinstance(given, Cell) else Cell(given)
    value, note = cell.value, [node("small", cell.note, css="note")] if cell.note else []
    attributes = {"title": cell.hint} if cell.hint else {}
    if not column.numeric:
        shown = value if isinstance(value, Html) else number(value)
        return node("td", shown, *note, css=cell.css, attributes=attributes)
    css = f"number {cell.css}".strip()
    if isinstance(value, int | float) and math.isfinite(value):
        attributes["data-value"] = f"{value:.9g}"
        if column.bar:
            attributes["style"] = f"--share:{min(1.0, max(0.0, float(value))):.3f}"
            css += " bar"
    return node("td", number(value, column.digits), *note, css=css, attributes=attributes)


def tile(
    label: str, value: str, note: Content = "", *, hint: str = "", gauge: Content = "", css: str = ""
) -> Html:
    """A big number with its name above and a remark below."""
    parts = [
        node("div", label, css="label"),
        node("div", value, css="value"),
        gauge,
        node("div", note, css="note"),
    ]
    return node("div", *parts, css=f"tile {css}".strip(), attributes={"title": hint} if hint else {})


def gauge(value: Number | None, low: Number | None = None, high: Number | None = None) -> Html:
    """A line from 0 to 1 with the score as a dot and its interval as a band."""
    if value is None:
        return Html("")
    start, end = (value if low is None else low), (value if high is None else high)
    band = {"style": f"left:{100 * start:.1f}%;width:{100 * max(0.0, end - start):.1f}%"}
    dot = {"style": f"left:{100 * min(1.0, max(0.0, value)):.1f}%"}
    return node(
        "div", node("i", css="band", attributes=band), node("i", css="dot", attributes=dot), css="gauge"
    )


def tiles(items: Iterable[Html]) -> Html:
    """Tiles side by side."""
    return node("div", *items, css="tiles")


def section(title: str, *children: Content, lead: Content = "") -> Html:
    """A card with a title, and a sentence below it."""
    anchor = "-".join(re.findall(r"\w+", title.lower()))
    parts = [node("h2", title)] + ([node("p", lead, css="lead")] if lead else [])
    return node("section", *parts, *children, attributes={"id": anchor})


def facts(pairs: Iterable[tuple[str, Content]]) -> Html:
    """Names and values in two columns."""
    rows = [join((node("dt", name), node("dd", value))) for name, value in pairs]
    return node("dl", *rows, css="facts")


def picture(source: str, caption: Content, *, alt: str, wide: bool = False) -> Html:
    """An embedded picture that opens in full on a click."""
    image = node("img", attributes={"src": source, "alt": alt, "loading": "lazy"})
    button = node("button", image, css="zoom", attributes={"type": "button", "aria-label": f"Enlarge {alt}"})
    return node("figure", button, node("figcaption", caption), css="wide" if wide else "")


def notice(kind: str, *children: Content) -> Html:
    """A framed remark; `kind` is ``info``, ``warning`` or ``error``."""
    return node("div", *children, css=f"notice {kind}")


def document(title: str, subtitle: Content, sections: Sequence[Html], foot: Content) -> str:
    """A whole page: one file that needs nothing else."""
    files = resources.files("morula.evaluation")
    read = {name: (files / f"report.{name}").read_text(encoding="utf-8") for name in ("html", "css", "js")}
    return Template(read["html"]).substitute(
        title=html.escape(title),
        subtitle=_markup(subtitle),
        style=read["css"],
        script=read["js"],
        contents=_contents(sections),
        body=join(sections),
        foot=_markup(foot),
    )


def _contents(sections: Sequence[Html]) -> Html:
    """Links to the sections, read off their titles."""
    links = []
    for part in sections:
        if not part.startswith("<section"):
            continue
        anchor = part.split('id="', 1)[1].split('"', 1)[0]
        title = part.split("<h2>", 1)[1].split("</h2>", 1)[0]
        links.append(node("a", Html(title), attributes={"href": f"#{anchor}"}))
    return join(links)
