"""``index.csv`` and ``dataset.toml``."""

from pathlib import Path

import pytest

from broken import make_dataset
from morula.data.index import read_description, read_index
from morula.data.layouts import open_dataset
from morula.errors import InputError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_reads_any_delimiter_and_a_byte_order_mark(delimiter: str, tmp_path: Path) -> None:
    text = "\ufeffid,modality\na,x\nb,ü\n".replace(",", delimiter)
    rows = read_index(write(tmp_path / "index.csv", text))
    assert rows == [{"id": "a", "modality": "x"}, {"id": "b", "modality": "ü"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a header"),
        ("id\n", "needs a header"),
        ("name,fold\na,1\n", "the column 'id'"),
        ("id,fold\na,1\na,2\n", "line 3 is a second row of id 'a'"),
        ("id,fold\na\n", "line 2 has too few or too many cells"),
        ("id,fold\na,1,2\n", "line 2 has too few or too many cells"),
    ],
)
def test_bad_tables_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_index(write(tmp_path / "index.csv", text))


@pytest.mark.parametrize(
    "name", ["../../up", "/etc/up", "a/../b", "..", ".", "./a", "a//b", "a/", "..\\..\\up"]
)
def test_an_id_that_leads_out_of_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    write(root / "index.csv", f"id,image,labels\n{name},images/0.png,labels/0.tif\n")
    with pytest.raises(InputError, match=r"line 2: id .* is no plain name.*Rename it"):
        open_dataset(root)


def test_an_image_outside_needs_an_id(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data")
    (root / "images/0.png").rename(tmp_path / "0.png")
    for place in ("../0.png", tmp_path / "0.png"):
        write(root / "index.csv", f"image,labels\n{place},labels/0.tif\n")
        with pytest.raises(InputError, match=r"does not lie below the data set.*column 'id'"):
            open_dataset(root)
        write(root / "index.csv", f"id,image,labels\ndeep/a,{place},labels/0.tif\n")
        assert [sample.id for sample in open_dataset(root).labelled] == ["deep/a"]


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_bytes("id\nü\n".encode("latin-1"))
    with pytest.raises(InputError, match="Save it as CSV in UTF-8"):
        read_index(tmp_path / "index.csv")


def test_fold_group_and_attributes(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, 3)
    write(root / "index.csv", "id,fold,field,patient,modality\n0,2,f0,p,a\n1,,f1,,b\n")
    samples = open_dataset(root).samples
    assert [sample.fold for sample in samples] == [2, None, None]
    assert [sample.group for sample in samples] == ["p", "f1", "2"]
    assert samples[0].attributes == {"field": "f0", "patient": "p", "modality": "a"}
    assert samples[2].attributes == {}


def test_a_fold_must_be_a_number(tmp_path: Path) -> None:
    write(make_dataset(tmp_path) / "index.csv", "id,fold\n0,train\n")
    with pytest.raises(InputError, match="fold 'train' of 0 is not a whole number"):
        open_dataset(tmp_path)


def test_the_description_says_what_files_do_not(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    (root / "images").rename(root / "raw")
    (root / "labels").rename(root / "truth")
    write(
        root / "dataset.toml",
        'images = "raw"\nlabels = "truth"\naxes = "YX"\nchannels = ["DAPI"]\nspacing_um = 0.5\n'
        'ignore_label = 3\nindex = "table.csv"\n',
    )
    write(root / "table.csv", "id,stain\n0,x\n")
    dataset = open_dataset(root)
    assert len(dataset.labelled) == 4
    assert (dataset.axes, dataset.channels, dataset.spacing_um) == ("YX", ("DAPI",), (0.5,))
    assert dataset.ignore_label == 3
    assert dataset.samples[0].attributes == {"stain": "x"}
    assert open_dataset(root, spacing_um=(1.0, 2.0), channels=("n",)).spacing_um == (1.0, 2.0)


def test_without_a_description_everything_is_open(tmp_path: Path) -> None:
    description = read_description(tmp_path)
    assert description.index == "index.csv"
    assert description.spacing is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('image = "raw"', r"dataset\.toml: unknown key 'image'.*Did you mean 'images'"),
        ("spacing_um = 'wide'", "spacing_um"),
        ("images = [", "is not a TOML file"),
        ('images = "raw"', "names the folder raw, which does not exist"),
        ('index = "table.csv"', r"names the index table\.csv, which is not there"),
    ],
)
def test_a_bad_description_is_refused(text: str, message: str, tmp_path: Path) -> None:
    write(make_dataset(tmp_path) / "dataset.toml", text)
    with pytest.raises(InputError, match=message):
        open_dataset(tmp_path)


@pytest.mark.parametrize("header", ["image,label", "image,Labels", "image,masks"])
def test_a_misspelt_column_is_named(header: str, tmp_path: Path) -> None:
    path = tmp_path / "index.csv"
    path.write_text(f"{header}\na.png,b.png\n")
    with pytest.raises(InputError, match=r"unknown column .*Did you mean 'labels'"):
        read_index(path)


def test_blanks_around_columns_do_not_count_and_a_label_may_be_an_attribute(tmp_path: Path) -> None:
    path = tmp_path / "index.csv"
    path.write_text("id, label ,fold\na,treated,0\n")
    assert read_index(path) == [{"id": "a", "label": "treated", "fold": "0"}]
    path.write_text("id,Image\na,1\n")
    assert read_index(path) == [{"id": "a", "Image": "1"}]


def test_a_description_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text('task = "instances"\n', encoding="utf-8-sig")
    assert read_description(tmp_path).task == "instances"
    (tmp_path / "dataset.toml").write_text("task =")
    with pytest.raises(InputError) as caught:
        read_description(tmp_path)
    assert str(caught.value).count("dataset.toml") == 1
