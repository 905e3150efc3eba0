"""Copy a trained run into the package as a shipped model: plan, decoder, scorer, calibration, weights, int8.

    python benchmarks/ship_model.py RUN NAME "one-line description"

Convolution kernels are stored as float16, half the size (scores are measured on what ships); the rest as
float32.
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from morula.data.files import write_atomic
from morula.prediction.calibration import Calibration
from morula.prediction.int8 import Ranges, digest
from morula.prediction.shipped import weight_files
from morula.spec import dump_toml
from morula.training.checkpoint import save_weights
from morula.training.run import Run
from morula.training.train import evaluate_run

MODELS = Path(__file__).parents[1] / "src" / "morula" / "models"


def ship(run: Path, name: str, description: str) -> None:
    """Write ``src/morula/models/NAME`` from a run folder."""
    folder = MODELS / name
    folder.mkdir(parents=True, exist_ok=True)
    for path in weight_files(run):
        weights = load_file(path)
        small = {key: value.half() if value.ndim > 1 else value for key, value in weights.items()}
        target = folder / path.relative_to(run)
        target.parent.mkdir(exist_ok=True)
        save_weights(target, small)
        ranges = Ranges.load(path)
        if ranges is not None:
            ranges.model_copy(update={"weights": digest(target)}).save(target)
        count = sum(value.numel() for value in weights.values() if value.dtype == torch.float32)
        print(f"{target}: {count / 1e6:.2f} M numbers, {target.stat().st_size / 1e6:.1f} MB")
    known = Calibration.load(run)
    if known is None or not known.seen:
        evaluate_run(Run(run))
    for file in ("plan.toml", "tuned.toml", "scorer.safetensors", "calibration.toml"):
        if (run / file).exists():
            shutil.copyfile(run / file, folder / file)
    with write_atomic(folder / "card.toml") as temporary:
        temporary.write_text(dump_toml({"description": description}), encoding="utf-8")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("description")
    options = parser.parse_args()
    ship(options.run, options.name, options.description)


if __name__ == "__main__":
    main()
