import errno
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from morula.errors import InputError
from morula.training.checkpoint import load_checkpoint, save_checkpoint, save_weights


def parts_of(seed: int, width: int = 4) -> dict:
    """A small network that has taken a few steps, its average and its optimiser."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 1, 1))
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.rand(2, 1, 8, 8)).mean().backward()
        optimizer.step()
    average = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    return {"network": network, "average": average, "optimizer": optimizer}


def everything(parts: dict) -> list[torch.Tensor]:
    slots = parts["optimizer"].state_dict()["state"]
    tensors = [*parts["network"].state_dict().values(), *parts["average"].values()]
    return tensors + [value for index in sorted(slots) for _, value in sorted(slots[index].items())]


def test_what_is_saved_is_loaded(tmp_path: Path):
    saved, other = parts_of(0), parts_of(1)
    state = {"step": 3, "best": {"score": 0.5}, "stale": 1, "plan": "abc"}
    save_checkpoint(tmp_path / "fold_0/checkpoint.safetensors", **saved, state=state)
    assert load_checkpoint(tmp_path / "fold_0/checkpoint.safetensors", "abc", **other) == state
    before, after = everything(saved), everything(other)
    assert len(before) == len(after)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_an_average_that_shares_its_memory_with_the_network_is_saved(tmp_path: Path):
    parts = parts_of(0)
    parts["average"] = parts["network"].state_dict()
    save_checkpoint(tmp_path / "a.safetensors", **parts, state={"plan": "abc"})
    assert load_checkpoint(tmp_path / "a.safetensors", "abc", **parts_of(1)) == {"plan": "abc"}


def test_weights_hold_facts_as_text(tmp_path: Path):
    weights = parts_of(0)["average"]
    save_weights(tmp_path / "weights.safetensors", weights, {"fold": "2"})
    found = load_file(tmp_path / "weights.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    with safe_open(tmp_path / "weights.safetensors", framework="pt") as file:
        assert file.metadata() == {"fold": "2"}


def test_a_damaged_file_is_named(tmp_path: Path):
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, **parts_of(0), state={"step": 3, "plan": "abc"})
    whole = path.read_bytes()
    for content in (b"", b"no tensors", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"checkpoint\.safetensors is damaged .*Delete it"):
            load_checkpoint(path, "abc", **parts_of(0))


def test_the_checkpoint_of_another_plan_is_refused(tmp_path: Path):
    """Before its tensors are compared, one by one, with those of another network."""
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, **parts_of(0, width=8), state={"plan": "old"})
    message = r"checkpoint\.safetensors was made by another plan \(old, now abc\)\. Put plan\.toml back"
    with pytest.raises(InputError, match=message) as caught:
        load_checkpoint(path, "abc", **parts_of(0))
    assert "damaged" not in str(caught.value)
    save_weights(path, {"network.0.weight": torch.ones(1)})
    with pytest.raises(InputError, match="is damaged"):
        load_checkpoint(path, "abc", **parts_of(0))


@pytest.mark.parametrize(("number", "reason"), [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota")])
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch, number: int, reason: str):
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, **parts_of(0), state={"step": 3})
    before = path.read_bytes()

    def fill(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(number, "no space")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(InputError, match=f"{reason}.*nothing was left half-written"):
        save_checkpoint(path, **parts_of(1), state={"step": 4})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
