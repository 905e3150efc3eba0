"""Make a trained residual U-Net narrower: of each level the channels that say most are kept.

    python benchmarks/narrow.py RUN OUT --features 24 48 96 192 256

`OUT` becomes a model to go on from (``morula train ... --from OUT``): right after narrowing it is poor. A
channel says as much as the scales of the batch norms that write it times the size of the weights that read
it, after Liu et al. 2017 (network slimming), https://arxiv.org/abs/1708.06519.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from morula.data.files import write_text
from morula.networks.residual_unet import ResidualUNet
from morula.prediction.shipped import find_folder, read_plan, weight_files
from morula.training.checkpoint import save_weights

Weights = dict[str, Tensor]


def narrow(weights: Mapping[str, Tensor], features: tuple[int, ...]) -> Weights:
    """The state dict of a `ResidualUNet` with one block per level, cut to `features` channels per level."""
    kept = dict(weights)
    for level, width in enumerate(features):
        blocks = [f"encoder.{level}.0"]
        # The decoder's stages are stored from the finest level on.
        if level + 1 < len(features):
            blocks.append(f"decoder.{level}")
        for block in blocks:
            inner = [f"{block}.first"], [f"{block}.second.0"]
            _keep(kept, *inner, width)
        writers = [f"{block}.second" for block in blocks]
        readers = [f"{block}.first.0" for block in blocks]
        writers.append("stem" if level == 0 else f"down.{level - 1}")
        if level + 1 < len(features):
            writers.append(f"lateral.{level}")
            readers.append(f"down.{level}.0")
        if level == 0:
            readers.append("heads.project")
        else:
            readers.append(f"lateral.{level - 1}.0")
        _keep(kept, writers, readers, width)
    return kept


def _keep(weights: Weights, writers: list[str], readers: list[str], width: int) -> None:
    """Cut the channels between some convolutions with batch norm and those that read them to `width`."""
    written = torch.stack([weights[f"{name}.1.weight"].abs() for name in writers]).sum(0)
    read = sum(weights[f"{name}.weight"].transpose(0, 1).flatten(1).norm(dim=1) for name in readers)
    chosen = torch.sort(torch.topk(written * read, width).indices).values
    for name in writers:
        for key in ("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
            weights[f"{name}.{key}"] = weights[f"{name}.{key}"][chosen].contiguous()
    for name in readers:
        weights[f"{name}.weight"] = weights[f"{name}.weight"][:, chosen].contiguous()


def main() -> None:
    """Read the command line, write plan and weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a run folder, or the name of a shipped model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--features", type=int, nargs="+", required=True)
    options = parser.parse_args()
    folder = find_folder(options.run)
    plan = read_plan(folder)
    if not isinstance(plan.network, ResidualUNet) or set(plan.network.blocks) != {1}:
        parser.error(f"{options.run} is no residual U-Net with one block per level")
    features = tuple(options.features)
    network = plan.network.model_copy(update={"features": features})
    for path in weight_files(folder):
        target = options.out / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        weights = {key: value.float() for key, value in load_file(path).items()}
        save_weights(target, narrow(weights, features))
    write_text(options.out / "plan.toml", plan.model_copy(update={"network": network}).dumps())


if __name__ == "__main__":
    main()
