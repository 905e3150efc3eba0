"""A data set whose index names no folds, with folds by the order of its ids: place modulo 4.

    python benchmarks/numbered_folds.py DATA OUT
    morula compare OUT -o COMPARISON --fold 0 --recipes auto stardist

OUT holds links to all that DATA holds, and its index with the column ``fold``, so that `morula compare` tests
on the same images as `out_of_fold.py`.
"""

import argparse
import csv
import io
from pathlib import Path

from morula.data.files import write_text
from morula.data.layouts import open_dataset
from morula.errors import InputError
from out_of_fold import folds


def number(data: Path, out: Path) -> None:
    """Write the links and the index."""
    fold_of = folds(open_dataset(data))
    with (data / "index.csv").open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if "id" not in (table.fieldnames or ()):
            msg = f"{data / 'index.csv'} has no column 'id', which tells the order of the images."
            raise InputError(msg)
        rows = [{**row, "fold": fold_of.get(row["id"], "")} for row in table]
    out.mkdir(parents=True, exist_ok=True)
    for path in data.iterdir():
        link = out / path.name
        if path.name != "index.csv" and not link.exists():
            link.symlink_to(path.resolve(), target_is_directory=path.is_dir())
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "index.csv", text.getvalue())


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    number(options.data, options.out)


if __name__ == "__main__":
    main()
