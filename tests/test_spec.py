"""The frozen base of everything configurable."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import model_validator

from morula.errors import InputError
from morula.networks import Network, read_network
from morula.representations import read_representation
from morula.spec import Spec, build, dump_toml, nearest, read_reasons, read_toml, validate


class Inner(Spec, frozen=True):
    size: int = 3


class Outer(Spec, frozen=True):
    name: Literal["a", "b"] = "a"
    inner: Inner = Inner()

    @model_validator(mode="after")
    def _agrees(self) -> "Outer":
        if self.inner.size > 9:
            msg = "size is too large"
            raise ValueError(msg)
        return self


def test_the_nearest_name_is_offered():
    assert (
        nearest("hoover", ["hover", "foreground"])
        == "'hoover'. Did you mean 'hover'? Known: foreground, hover."
    )
    assert nearest("x", ["hover"]) == "'x'. Known: hover."


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"nam": "a"}, r"^unknown key 'nam': 'nam'\. Did you mean 'name'\? Known: inner, name\.$"),
        ({"inner": {"sise": 3}}, r"^unknown key 'inner\.sise': 'sise'\. Did you mean 'size'"),
        ({"name": "c"}, r"^name = 'c': Input should be 'a' or 'b'$"),
        ({"inner": {"size": "wide"}}, r"^inner\.size = 'wide': "),
        # A rule of the whole table is told without the table.
        ({"inner": {"size": 10}}, r"^Outer: size is too large$"),
    ],
)
def test_errors_name_the_key_and_the_remedy(table: dict, message: str):
    with pytest.raises(InputError, match=message):
        validate(Outer, table)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hover", "a representation is a table with the key 'kind'; found 'hover'"),
        ({"kind": "hoover"}, "unknown representation 'hoover'. Did you mean 'hover'"),
        ({"kind": 3}, "unknown representation '3'"),
        ({}, "unknown representation ''"),
        ({"kind": "no_such_lab:Mine"}, "cannot be imported: No module named 'no_such_lab'"),
        ({"kind": "morula.spec:Mine"}, "cannot be imported: module 'morula.spec' has no attribute 'Mine'"),
        ({"kind": "morula.spec:"}, "cannot be imported"),
        ({"kind": ":Mine"}, "cannot be imported: Empty module name"),
        ({"kind": "os:system"}, "'os:system' is no representation; expected 'module:Class'"),
        (
            {"kind": "morula.networks.plain_unet:PlainUNet"},
            "is no representation; .*subclass of Representation",
        ),
    ],
)
def test_what_a_plan_names_must_exist_and_fit(value: object, message: str):
    with pytest.raises(InputError, match=message):
        read_representation(value)


def test_a_finished_object_is_taken_as_it_is():
    network = read_network({"kind": "plain_unet", "features": (8, 16)})
    assert build(network, {}, Network, "network") is network


def test_levels_of_a_network_agree():
    with pytest.raises(
        InputError, match=r"blocks \(1, 1, 1, 1\) and features \(8, 16\) need one number per level"
    ):
        read_network({"kind": "residual_unet", "features": (8, 16)})


def test_toml_comes_back_with_its_reasons(tmp_path: Path):
    table = {"steps": 3, "none": None, "inner": {"size": 4, "deep": {"flag": True}}, "sizes": (1, 2)}
    reasons = {"steps": "fits the budget", "inner.size": "large objects", "inner.deep": "as ever"}
    text = dump_toml(table, reasons)
    (tmp_path / "a.toml").write_text(text)
    found = read_toml(tmp_path / "a.toml")
    assert found == {"steps": 3, "sizes": [1, 2], "inner": {"size": 4, "deep": {"flag": True}}}
    # The comment of a table is that of its first key.
    told = {"steps": "fits the budget", "inner.size": "large objects", "inner.deep.flag": "as ever"}
    assert read_reasons(text) == told
    assert read_reasons(dump_toml(found, told)) == told


def test_a_bad_toml_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"a\.toml does not exist"):
        read_toml(tmp_path / "a.toml")
    for content in (b"a = ", b"\xff\xfe"):
        (tmp_path / "a.toml").write_bytes(content)
        with pytest.raises(InputError, match=r"a\.toml is not a TOML file.*Mend or delete it"):
            read_toml(tmp_path / "a.toml")
