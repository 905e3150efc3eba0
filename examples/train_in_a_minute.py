"""The whole chain on the sample images, far too short to be good: train, then predict with the result.

python examples/train_in_a_minute.py [RUN]
"""

import sys
from importlib.resources import files
from pathlib import Path

from morula import Request, predict, train

SAMPLES = Path(str(files("morula"))) / "samples"
SHORT = ("training.steps=20", "training.batch_size=2", "training.patch_size=[128, 128]")


def main(run: Path = Path("minute-run")) -> None:
    summary = train(run, Request(data=str(SAMPLES), overrides=SHORT))
    if summary.metrics:
        print(f"DSB score on images held out: {summary.metrics['scores']['dsb']['value']:.3f}")
    predict([SAMPLES / "images"], run / "predicted", model=run)
    print(f"Look at {run / 'report.html'} and {run / 'predicted' / 'report.html'}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
