import re

import pytest

from morula.evaluation.page import (
    Cell,
    Column,
    Html,
    document,
    gauge,
    node,
    number,
    section,
    short_name,
    table,
)


def test_text_is_escaped_and_markup_is_not():
    inner = node("b", "a<b>&\"'")
    assert inner == "<b>a&lt;b&gt;&amp;&quot;&#x27;</b>"
    assert node("p", inner, [" & ", node("i", "x")]) == f"<p>{inner} &amp; <i>x</i></p>"


def test_attributes_are_escaped():
    assert node("p", attributes={"title": '"><script>'}) == '<p title="&quot;&gt;&lt;script&gt;"></p>'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (1234567, "1\u202f234\u202f567"),
        (-0.5, "\u22120.500"),
        ("a", "a"),
        (0, "0"),
    ],
)
def test_numbers_as_people_read_them(value: object, text: str):
    assert number(value) == text


def test_long_names_are_shortened_in_the_middle_and_kept_in_the_tooltip():
    name = "first" + "<" * 80 + "last"
    short = short_name(name)
    shown = re.sub("<[^>]*>", "", short).replace("&lt;", "<")
    assert shown.startswith("first")
    assert shown.endswith("last")
    assert len(shown) == 34
    assert 'title="first&lt;' in short
    assert "title" not in short_name("short")


def test_a_table_sorts_by_values_not_by_their_text():
    page = table(
        [Column("name", numeric=False), Column("n", bar=True)],
        [["<a>", 1234.5], ["b", None], ["c", Cell(0.25, "0 – 1")]],
    )
    assert "&lt;a&gt;" in page
    assert 'data-value="1234.5"' in page
    assert "--share:1.000" in page
    assert "--share:0.250" in page
    assert 'title="0 – 1"' in page
    assert page.count("data-value") == 2


def test_a_row_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        table([Column("a"), Column("b")], [[1]])


def test_a_gauge_without_a_score_is_nothing():
    assert gauge(None) == ""
    assert "left:50.0%;width:25.0%" in gauge(0.6, 0.5, 0.75)


def test_a_page_stands_alone_and_links_its_sections():
    page = document(
        "A <title> & $name", "sub < title", [section("First & best", "text"), Html("<div></div>")], "foot"
    )
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>A &lt;title&gt; &amp; $name</title>" in page
    assert '<a href="#first-best">First &amp; best</a>' in page
    assert 'id="first-best"' in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert not re.search(r"https?://|url\(|@import", page)
