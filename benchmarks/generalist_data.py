"""Join the data sets that the shipped model `generalist` learns from into one folder.

    python benchmarks/generalist_data.py DATA OUT

`DATA` holds ``dsb2018``, ``kromp2020`` and ``t98g``; `OUT` receives images, labels and an ``index.csv`` with
the columns `source`, `modality`, `field` and `fold`: that of ``dsb2018``'s own index, elsewhere the place in
the order of ids modulo 4. Images whose median object is above 48 px across are shrunk to that, with their
labels: prediction brings large objects to such a size, too.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from morula.data.dataset import Dataset
from morula.data.files import write_atomic, write_text
from morula.data.formats import write_labels
from morula.data.layouts import open_dataset
from morula.data.sample import Sample
from morula.labels.measure import diameters
from morula.labels.resample import resample_labels
from morula.preprocessing.geometry import resample

MODALITIES = {"kromp2020": "fluorescence_63x", "t98g": "phase_contrast"}
"""Of the sets whose index names none."""

LARGEST_PX = 48.0
"""Median diameter above which an image is shrunk."""

N_FOLDS = 4


def join(data: Path, out: Path) -> None:
    """Write images, labels and index of all three sets below `out`."""
    rows: list[dict[str, str]] = []
    for name in ("dsb2018", "kromp2020", "t98g"):
        dataset = open_dataset(data / name)
        for place, sample in enumerate(dataset.labelled):
            id_ = f"{name}_{sample.id}"
            shape = _copy(dataset, sample, out, id_)
            fold = place % N_FOLDS if name in MODALITIES else sample.fold
            rows.append(
                {
                    "id": id_,
                    "source": name,
                    "modality": MODALITIES.get(name) or sample.attributes["modality"],
                    "field": f"{name}_{sample.group or sample.id}",
                    "fold": "" if fold is None else str(fold),
                }
            )
            print(f"{id_}: {shape}")
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    write_text(out / "index.csv", "\n".join(lines) + "\n")


def _copy(dataset: Dataset, sample: Sample, out: Path, id_: str) -> tuple[int, ...]:
    image, labels = dataset.image(sample), dataset.labels(sample)
    found = diameters(labels)
    factor = min(1.0, LARGEST_PX / float(np.median(found))) if len(found) else 1.0
    shape = tuple(round(size * factor) for size in labels.shape)
    if factor < 1:
        image, labels = replace(image, pixels=resample(image.pixels, shape)), resample_labels(labels, shape)
    colours = len(image.pixels) == 3
    pixels = np.moveaxis(image.pixels, 0, -1) if colours else image.pixels[0]
    target = out / "images" / f"{id_}.tif"
    target.parent.mkdir(parents=True, exist_ok=True)
    with write_atomic(target) as temporary:
        kind = "rgb" if colours else "minisblack"
        tifffile.imwrite(temporary, pixels, photometric=kind, compression="zstd")
    write_labels(out / "labels" / f"{id_}.tif", labels)
    return shape


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    join(options.data, options.out)


if __name__ == "__main__":
    main()
