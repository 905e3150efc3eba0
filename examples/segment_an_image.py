"""Segment one image with the shipped model and look at its objects.

python examples/segment_an_image.py [IMAGE]
"""

import sys
from importlib.resources import files
from pathlib import Path

from morula import Model
from morula.data.formats import read_image, write_labels
from morula.labels.measure import measure

SAMPLE = Path(str(files("morula"))) / "samples" / "images" / "fluorescence-touching.png"


def main(path: Path = SAMPLE, out: Path = Path("labels.tif")) -> None:
    model = Model.load("nuclei")
    image = read_image(path)
    found = model.segment(image)
    write_labels(out, found.labels)
    for row in measure(found.labels, image, confidence=found.confidence)[:5]:
        print(f"object {row['label']}: {row['area_px']} px, confidence {row['confidence']:.2f}")
    print(f"{found.labels.max()} objects in {path.name}; labels written to {out}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
