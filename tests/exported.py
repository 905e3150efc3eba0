"""Small networks that engines run."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from echo import echo_plan
from morula.networks.plain_unet import PlainUNet
from morula.networks.residual_unet import ResidualUNet
from morula.planning.plan import Plan
from morula.prediction.ensemble import ready
from morula.representations.hover import HoVer

NETWORKS = {
    "residual": ResidualUNet(features=(8, 16), blocks=(1, 1), stem=2),
    "plain": PlainUNet(features=(8, 16), norm="instance"),
}


def plan_with(name: str, ndim: int) -> Plan:
    return echo_plan(ndim).model_copy(update={"network": NETWORKS[name], "representation": HoVer()})


def network_of(plan: Plan) -> nn.Module:
    torch.manual_seed(0)
    heads = plan.representation.heads(plan.ndim)
    return ready(plan.network.build(plan.ndim, len(plan.channels), heads), plan.ndim)


def weights_of(network: nn.Module, folder: Path) -> Path:
    path = folder / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path
