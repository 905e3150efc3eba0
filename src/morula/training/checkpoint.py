"""Everything a killed run needs to go on, in one file without pickle.

One safetensors file holds the network, its moving average and the optimiser; its text header holds the
step and the scores. It is written to a temporary name and renamed, so there is always a whole one.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from morula.data.files import write_atomic
from morula.errors import InputError


def save_weights(path: Path, weights: dict[str, Tensor], facts: dict[str, str] | None = None) -> None:
    """Write a state dict as safetensors, atomically.

    Raises:
        InputError: The disk is full or the folder may not be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with write_atomic(path) as temporary:
        # As bytes: a full disk is then an OSError, which the atomic writer turns into a message.
        temporary.write_bytes(save(tensors, metadata=facts))


def save_checkpoint(
    path: Path,
    *,
    network: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> None:
    """Write network, moving average, optimiser and `state` (anything that JSON holds)."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in slots.items()}
    # The average may share memory with the network at the start; safetensors wants every tensor its own.
    save_weights(
        path, {name: tensor.clone() for name, tensor in tensors.items()}, {"state": json.dumps(state)}
    )


def load_checkpoint(
    path: Path, plan: str, *, network: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Fill network, average and optimiser from `path`; the `state` given to `save_checkpoint`.

    Args:
        path: What `save_checkpoint` wrote.
        plan: Hash of the plan, which the state must have under ``plan``.
        network: To be filled.
        average: To be filled.
        optimizer: To be filled.

    Raises:
        InputError: The file is damaged or belongs to another plan.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            state = json.loads(file.metadata()["state"])
        _same_plan(path, state["plan"], plan)
        network.load_state_dict(_below("network.", tensors))
        for name, tensor in _below("average.", tensors).items():
            average[name].copy_(tensor)
        table = optimizer.state_dict()
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _below("optimizer.", tensors).items():
            index, slot = name.split(".")
            slots.setdefault(int(index), {})[slot] = tensor
        optimizer.load_state_dict({**table, "state": slots})
    except InputError:
        raise
    except (SafetensorError, RuntimeError, KeyError, ValueError, TypeError) as error:
        msg = f"{path} is damaged ({error}). Delete it to train this fold anew."
        raise InputError(msg) from error
    return state


def _same_plan(path: Path, before: str, now: str) -> None:
    if before != now:
        msg = (
            f"{path} was made by another plan ({before}, now {now}). "
            "Put plan.toml back as it was, or train into a new folder."
        )
        raise InputError(msg)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
