from pathlib import Path

import pytest

from morula.errors import InputError
from morula.prediction.measurements import Measurements


def lines(folder: Path) -> list[str]:
    return (folder / "measurements.csv").read_text().splitlines()


def test_columns_grow_as_images_bring_new_ones(tmp_path: Path):
    table = Measurements(tmp_path)
    assert lines(tmp_path) == ["image"]
    table.append("a", [{"label": 1, "area_px": 20}])
    table.append("b, c", [{"label": 1, "area_px": 4, "mean_dapi": 0.123456789}])
    table.append("d", [{"label": 2, "area_px": 5}])
    assert lines(tmp_path) == [
        "image,label,area_px,mean_dapi",
        "a,1,20,",
        '"b, c",1,4,0.123457',
        "d,2,5,",
    ]


def test_only_rows_to_keep_stay(tmp_path: Path):
    table = Measurements(tmp_path)
    for name in "abc":
        table.append(name, [{"label": 1}, {"label": 2}])
    with (tmp_path / "measurements.csv").open("a") as file:
        file.write("a")
    Measurements(tmp_path, {"a", "c"}).append("d", [])
    assert lines(tmp_path) == ["image,label", "a,1", "a,2", "c,1", "c,2"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    table = Measurements(tmp_path)
    (tmp_path / "measurements.csv").unlink()
    (tmp_path / "measurements.csv").mkdir()
    with pytest.raises(InputError, match=r"measurements\.csv cannot be written"):
        table.append("a", [{"label": 1}, {"area_px": 2}])
