import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from exported import NETWORKS, network_of, plan_with, weights_of
from morula.data.files import write_atomic
from morula.errors import InputError
from morula.prediction import engines
from morula.prediction.engines import Engine, accelerate, choose_engine
from morula.prediction.model import Model
from morula.prediction.shipped import find_folder


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_engines_agree_with_torch_at_any_size(tmp_path: Path, engine: Engine, name: str, ndim: int):
    plan = plan_with(name, ndim)
    network = network_of(plan)
    other = accelerate(network, plan, weights_of(network, tmp_path), engine)
    # OpenVINO takes bfloat16 where the processor has it: eight bits of mantissa.
    tolerance = 0.05 if engine == "openvino" else 1e-4
    for shape in ((32, 48, 16)[:ndim], (64, 16, 32)[:ndim]):
        image = torch.randn(2, len(plan.channels), *shape)
        with torch.inference_mode():
            expected: dict[str, Tensor] = network(image)[0]
        for wanted in (tuple(expected), tuple(expected)[-1:]):
            found = other(image, wanted)[0]
            assert tuple(found) == wanted
            for head in wanted:
                logits = expected[head]
                assert found[head].dtype == torch.float32
                torch.testing.assert_close(
                    found[head], logits, atol=tolerance * float(logits.abs().max()), rtol=0
                )


def test_results_of_one_call_outlive_the_next(tmp_path: Path):
    plan = plan_with("residual", 2)
    network = network_of(plan)
    run = accelerate(network, plan, weights_of(network, tmp_path), "openvino")
    first = run(torch.ones(1, len(plan.channels), 32, 32), ("offsets",))[0]["offsets"]
    before = first.clone()
    run(torch.zeros(1, len(plan.channels), 32, 32), ("offsets",))
    torch.testing.assert_close(first, before)


def test_threads_that_share_the_cores_get_what_one_alone_gets(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    plan = plan_with("residual", 2)
    network = network_of(plan)
    weights = weights_of(network, tmp_path)
    alone = accelerate(network, plan, weights, "openvino")
    shared = accelerate(network, plan, weights, "openvino", streams=8)
    assert shared.streams == 2
    images = [torch.randn(1, len(plan.channels), 32, 16 * (2 + i % 3)) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: shared(image, ("offsets",))[0]["offsets"], images))
    for image, offsets in zip(images, found, strict=True):
        expected = alone(image, ("offsets",))[0]["offsets"]
        torch.testing.assert_close(offsets, expected, atol=0.02 * float(expected.abs().max()), rtol=0)


def test_the_graph_is_exported_once_per_plan_and_weights(tmp_path: Path):
    plan = plan_with("residual", 2)
    network = network_of(plan)
    weights = weights_of(network, tmp_path)
    accelerate(network, plan, weights, "openvino")
    (graph,) = tmp_path.glob("*.onnx")
    made = graph.stat().st_mtime_ns
    accelerate(network, plan, weights, "onnxruntime")
    assert [graph.stat().st_mtime_ns for graph in tmp_path.glob("*.onnx")] == [made]
    accelerate(network, plan.model_copy(update={"recipe": "other"}), weights, "openvino")
    (replaced,) = tmp_path.glob("*.onnx")
    assert replaced != graph


def test_a_read_only_model_keeps_its_graph_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plan = plan_with("residual", 2)
    network = network_of(plan)
    (tmp_path / "model").mkdir()
    weights = weights_of(network, tmp_path / "model")

    def refuse(path: Path):
        if path.parent == weights.parent:
            raise InputError("read-only")
        return write_atomic(path)

    monkeypatch.setattr(engines, "write_atomic", refuse)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    accelerate(network, plan, weights, "onnxruntime")
    assert len(list((tmp_path / ".cache" / "morula").glob("*.onnx"))) == 1


def test_auto_is_the_fastest_that_is_there(monkeypatch: pytest.MonkeyPatch):
    assert choose_engine("auto", "cpu") == "openvino"
    assert choose_engine("auto", "cuda") == "torch"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose_engine("auto", "cpu") == "torch"
    with pytest.raises(InputError, match="python -m pip install onnxruntime onnx"):
        choose_engine("onnxruntime", "cpu")


@pytest.mark.parametrize(
    ("engine", "device", "message"),
    [("tensorrt", "cpu", "no engine 'tensorrt'"), ("openvino", "cuda", "runs on the CPU only")],
)
def test_engines_that_cannot_be_had(engine: str, device: str, message: str):
    with pytest.raises(InputError, match=message):
        choose_engine(engine, device)


def test_the_shipped_model_finds_the_same_objects_with_every_engine(tmp_path: Path):
    from morula.data.formats import read_image
    from morula.labels.matching import match

    sample = next(iter(sorted((find_folder("nuclei").parents[1] / "samples" / "images").iterdir())))
    image = read_image(sample)
    expected = Model.load("nuclei").segment(image).labels
    for engine in ("openvino", "onnxruntime"):
        found = Model.load("nuclei", engine=engine).segment(image).labels
        assert match(expected, found, (0.7,))[0].f1 > 0.95
