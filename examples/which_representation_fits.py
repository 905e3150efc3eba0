"""Which representation keeps most of your labels? Encoded and decoded, without any network.

python examples/which_representation_fits.py [DATA]
"""

import sys
from importlib.resources import files
from pathlib import Path

from morula import open_dataset
from morula.planning.ceiling import measure_ceilings

SAMPLES = Path(str(files("morula"))) / "samples"


def main(data: Path = SAMPLES) -> None:
    dataset = open_dataset(data)
    for row in measure_ceilings(dataset, dataset.labelled, spacing=(1.0, 1.0)):
        print(
            f"{row.representation:20} AP@0.5 {row.ap50:.3f}  AP@0.9 {row.ap90:.3f}  DSB {row.dsb_score:.3f}"
        )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
