"""Encoders that start from weights trained elsewhere, such as timm's for ImageNet. Imports torch."""

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from morula.errors import InputError
from morula.networks.base import require_weights

CLASSIFIERS = ("fc.", "head.", "classifier.")
"""What names of weights behind the encoder begin with: they are left out."""


def load_weights(encoder: nn.Module, path: str) -> None:
    """Copy the weights of a safetensors file into `encoder`; its names must be those of the encoder.

    The first convolution takes whatever number of channels the images have: the weights of the file are
    summed over its channels and shared out evenly among ours, so that a grey image gives what it would
    give, had it been copied into all channels of the file's network.

    Args:
        encoder: Changed in place.
        path: The file. A classifier in it is passed over.

    Raises:
        InputError: The file is missing, damaged, or made for another encoder.
    """
    found = {name: value for name, value in _read(path).items() if not name.startswith(CLASSIFIERS)}
    wanted = encoder.state_dict()
    # Counters of batches are left out of some files; nothing depends on them.
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    _check_names(path, set(found), set(wanted) - counters, counters)
    first = next(name for name in wanted if name.endswith("weight"))
    found[first] = _share_channels(found[first], wanted[first].shape[1])
    for name, value in found.items():
        if value.shape != wanted[name].shape:
            msg = (
                f"{path}: {name} has shape {tuple(value.shape)}, this encoder needs "
                f"{tuple(wanted[name].shape)}. Such weights fit 2D networks of width 1 only."
            )
            raise InputError(msg)
    with torch.no_grad():
        for name, value in found.items():
            wanted[name].copy_(value)


def _read(path: str) -> dict[str, Tensor]:
    require_weights(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        msg = f"{path} is no safetensors file ({error}). Download it again, or convert it."
        raise InputError(msg) from error


def _check_names(path: str, found: set[str], wanted: set[str], optional: set[str]) -> None:
    missing, foreign = sorted(wanted - found), sorted(found - wanted - optional)
    if missing or foreign:
        lacking = f"{len(missing)} of {len(wanted)} are missing, such as {missing[0]}; " if missing else ""
        strange = f"{len(foreign)} are unknown, such as {foreign[0]}; " if foreign else ""
        msg = (
            f"{path} holds weights of another encoder: {lacking}{strange}"
            "expected the names that timm gives them for this very encoder."
        )
        raise InputError(msg)


def _share_channels(weight: Tensor, channels: int) -> Tensor:
    """First convolution ``(out, in, *kernel)`` for another number of input channels, summing to the same."""
    if weight.ndim < 3 or weight.shape[1] == channels:
        return weight
    total = weight.sum(1, keepdim=True) / channels
    return total.repeat(1, channels, *[1] * (weight.ndim - 2))
