"""A network whose logits are its input: what goes in must come out, for tests of prediction."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from morula.planning.plan import Inference, Normalization, Plan, Scaling, Training
from morula.prediction.model import Model


class Echo(nn.Module):
    """Foreground where the normalised image is above one half."""

    def __init__(self, head: str = "foreground", stride: int = 1) -> None:
        super().__init__()
        self.head, self.stride = head, stride
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> list[dict[str, Tensor]]:
        self.seen.append(tuple(image.shape))
        step = slice(None, None, self.stride)
        logits = (image.float() - 0.5) * 40
        return [{self.head: logits[(slice(None), slice(0, 1), *[step] * (image.ndim - 2))]}]


def echo_plan(ndim: int = 2, **changes: Any) -> Plan:
    """A plan for plain foreground of grey images, with small tiles."""
    table: dict[str, Any] = {
        "ndim": ndim,
        "channels": ("grey",),
        "halo_px": (16,) * ndim,
        "scaling": Scaling(diameter_px=12.0),
        "normalization": Normalization(kind="minmax"),
        "representation": {"kind": "foreground"},
        "network": {"kind": "residual_unet", "features": (4, 8), "blocks": (1, 1)},
        "training": Training(patch_size=(32,) * ndim),
        "inference": Inference(tile_size=(48,) * ndim, mirror="none"),
    }
    return Plan.model_validate(table | changes)


def echo_model(ndim: int = 2, **changes: Any) -> Model:
    """A model of one `Echo`."""
    return Model("echo", echo_plan(ndim, **changes), (Echo(),))


def save_run(folder: Path, plan: Plan, folds: int = 1) -> Path:
    """A run folder with untrained networks, the same every time."""
    folder.mkdir(parents=True)
    (folder / "plan.toml").write_text(plan.dumps())
    for fold in range(folds):
        torch.manual_seed(fold)
        network = plan.network.build(plan.ndim, len(plan.channels), plan.representation.heads(plan.ndim))
        (folder / f"fold_{fold}").mkdir()
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        save_file(state, folder / f"fold_{fold}" / "weights.safetensors")
    return folder
