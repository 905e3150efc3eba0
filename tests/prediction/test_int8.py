"""Ranges, rounding, and the engine that computes with them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from exported import NETWORKS, network_of, plan_with, weights_of
from morula.errors import InputError
from morula.prediction import int8
from morula.prediction.engines import Graph, accelerate, choose_engine, export
from morula.prediction.int8 import Ranges, digest, measure_ranges, with_zero


def rounded(values: np.ndarray, low: float, high: float, levels: int) -> np.ndarray:
    """To the nearest of `levels` evenly spaced values."""
    step = (high - low) / (levels - 1)
    return np.round((np.clip(values, low, high) - low) / step) * step + low


@given(st.floats(-100, 100), st.floats(0, 200))
def test_zero_is_a_level(low: float, width: float):
    first, last = with_zero(low, low + width)
    step = (last - first) / 255
    assert abs(first / step - round(first / step)) < 1e-6
    assert first - step <= min(low, 0)
    assert last + step >= low + width


class Line(nn.Module):
    """One convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, image: Tensor) -> list[dict[str, Tensor]]:
        maps = self.convolution(image)
        return [{"foreground": maps[:, :1], "offsets": maps, "other": maps}]


def test_values_and_weights_are_rounded_as_written(tmp_path: Path):
    torch.manual_seed(0)
    plan, network = plan_with("residual", 2), Line().eval()
    plan = plan.model_copy(update={"channels": ("grey",)})
    weights = weights_of(network, tmp_path)
    ranges = Ranges(weights=digest(weights), low=(-1.0,), high=(1.55,))
    heads = plan.representation.heads(2)
    image = np.random.default_rng(0).normal(0, 1, (1, 1, 16, 32)).astype(np.float32)

    with torch.inference_mode():
        module = network.convolution
        kernels = module.weight.numpy()
        exact = [rounded(k, -np.abs(k).max(), np.abs(k).max(), 255) for k in kernels]
        values = rounded(image, *with_zero(-1.0, 1.55), 256).astype(np.float32)
        kernel = torch.from_numpy(np.stack(exact).astype(np.float32))
        expected = nn.functional.conv2d(torch.from_numpy(values), kernel, module.bias, padding=1)
    run = Graph(export(network, plan, weights), "openvino", ranges)
    found = run(torch.from_numpy(image), (heads[-1].name,))[0][heads[-1].name]
    # The sum of integers is exact; what follows may be in bfloat16.
    torch.testing.assert_close(found, expected[:, : found.shape[1]], atol=0.02, rtol=0)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_int8_agrees_with_torch(tmp_path: Path, name: str, ndim: int):
    plan = plan_with(name, ndim)
    network = network_of(plan)
    weights = weights_of(network, tmp_path)
    image = torch.randn(2, len(plan.channels), *(32, 48, 16)[:ndim])
    measure_ranges(export(network, plan, weights), weights, [image.numpy()]).save(weights)
    other = accelerate(network, plan, weights, "openvino-int8")
    with torch.inference_mode():
        expected: dict[str, Tensor] = network(image)[0]
    found = other(image, tuple(expected))[0]
    for head, logits in expected.items():
        assert float((found[head] - logits).abs().mean()) < 0.1 * float(logits.abs().mean() + logits.std())
        assert not torch.equal(found[head], logits)


def test_ranges_of_other_weights_are_refused(tmp_path: Path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"one")
    assert Ranges.load(weights) is None
    kept = Ranges(weights=digest(weights), low=(0.0,), high=(1.0,))
    kept.save(weights)
    assert Ranges.load(weights) == kept
    weights.write_bytes(b"two")
    with pytest.raises(InputError, match="other weights"):
        Ranges.load(weights)
    int8.remove(weights)
    assert Ranges.load(weights) is None


def test_ranges_of_another_graph_are_refused(tmp_path: Path):
    plan = plan_with("residual", 2)
    network = network_of(plan)
    weights = weights_of(network, tmp_path)
    Ranges(weights=digest(weights), low=(0.0,), high=(1.0,)).save(weights)
    with pytest.raises(InputError, match="of 1 convolutions, the network has"):
        accelerate(network, plan, weights, "openvino-int8")


def test_int8_is_chosen_where_it_pays_and_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"one")
    monkeypatch.setattr(int8, "pays", lambda: True)
    assert choose_engine("auto", "cpu", [weights]) == "openvino"
    with pytest.raises(InputError, match="morula quantize RUN"):
        choose_engine("openvino-int8", "cpu", [weights])
    Ranges(weights=digest(weights), low=(0.0,), high=(1.0,)).save(weights)
    assert choose_engine("auto", "cpu", [weights]) == "openvino-int8"
    assert choose_engine("auto", "cuda", [weights]) == "torch"
    monkeypatch.setattr(int8, "pays", lambda: False)
    assert choose_engine("auto", "cpu", [weights]) == "openvino"
    assert choose_engine("openvino-int8", "cpu", [weights]) == "openvino-int8"


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        (["FP32", "INT8"], True),
        (["FP32", "INT8", "BF16"], False),
        (["FP32", "FP16", "INT8"], False),
        (["FP32"], False),
    ],
)
def test_integers_pay_where_there_are_no_short_floats(
    able: list[str], expected: bool, monkeypatch: pytest.MonkeyPatch
):
    import openvino

    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
            return able

    monkeypatch.setattr(openvino, "Core", Core)
    assert int8.pays() is expected
