"""Whether int8 pays: time of the network, and accuracy on a run's validation images, against bfloat16.

    python benchmarks/int8.py RUN DATA [--python /work/env/int8/bin/python] [--out FILE.json]

The graph that OpenVINO runs is quantised by NNCF (``pip install nncf openvino``, an environment of its own) with
100 random patches of images that the run trained on. Seconds are processor time of one thread for one image of
1024 x 1024, in turns, the median of nine.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

PRESETS = ("performance", "mixed")
SIDE, PATCHES = 256, 100


def quantize(graph: str, calibration: str, out: str, wanted: list[str]) -> None:
    """Runs where NNCF is: one quantised graph per preset beside `out`."""
    import nncf  # pyright: ignore[reportMissingImports]
    import openvino
    from openvino.passes import ConstantFolding, Manager

    patches = np.load(calibration)
    for preset in PRESETS:
        model = only(openvino.Core().read_model(graph), wanted)
        # NNCF cannot correct biases of a graph whose sizes are open.
        model.reshape([1, *patches.shape[1:]])
        manager = Manager()
        manager.register_pass(ConstantFolding())
        manager.run_passes(model)
        data = nncf.Dataset([patch[None] for patch in patches])
        kind = getattr(nncf.QuantizationPreset, preset.upper())
        openvino.save_model(nncf.quantize(model, data, subset_size=len(patches), preset=kind), f"{out}/{preset}.xml")


def only(model: Any, wanted: list[str]) -> Any:
    """A graph without the outputs that decoding does not read."""
    for result in model.get_results():
        if not result.output(0).names & {*wanted}:
            model.remove_result(result)
    return model


def patches_of(model: Any, images: list[Any]) -> np.ndarray:
    """Random normalised patches ``(n, C, 256, 256)``."""
    from morula.preprocessing.geometry import select_channels
    from morula.preprocessing.intensity import normalize

    rng = np.random.default_rng(0)
    found = []
    for image in images:
        pixels = normalize(select_channels(image, model.plan.channels), model.plan.normalization)
        if min(pixels.shape[1:]) >= SIDE:
            y, x = (rng.integers(0, n - SIDE + 1) for n in pixels.shape[1:])
            found.append(pixels[:, y : y + SIDE, x : x + SIDE])
    return np.stack(found[:PATCHES])


def compiled(path: Path, wanted: list[str], shape: tuple[int, ...]) -> Callable[[np.ndarray], list[np.ndarray]]:
    """The graph for one shape, with one thread."""
    import openvino

    core = openvino.Core()
    model = only(core.read_model(path), wanted)
    model.reshape(shape)
    request = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1}).create_infer_request()

    def run(image: np.ndarray) -> list[np.ndarray]:
        request.infer([image])
        return [np.array(request.get_tensor(name).data) for name in wanted]

    return run


def accuracy(model: Any, graph: Path, wanted: list[str], samples: list[tuple[Any, np.ndarray]]) -> dict[str, float]:
    """Pooled AP with one graph in the network's place, no mirror images."""
    import torch

    from morula.labels.matching import match
    from morula.prediction.engines import Graph

    class Fixed(Graph):
        def forward(self, image: torch.Tensor, wanted: tuple[str, ...]) -> list[dict[str, torch.Tensor]]:
            outputs = compiled(graph, list(wanted), tuple(image.shape))(image.contiguous().numpy())
            return [{name: torch.from_numpy(values) for name, values in zip(wanted, outputs, strict=True)}]

    from dataclasses import replace

    other = replace(model, networks=(Fixed(graph, "openvino"),))
    counts = {"ap50": np.zeros(2), "ap75": np.zeros(2)}
    for image, truth in samples:
        found = other.segment(image, diameter_px="trained").labels
        for name, row in zip(counts, match(truth, found, (0.5, 0.75)), strict=True):
            counts[name] += (row.tp, row.tp + row.fp + row.fn)
    return {name: float(tp / total) for name, (tp, total) in counts.items()}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and scores per graph."""
    import torch

    from morula.data.formats import read_image
    from morula.data.layouts import find_dataset
    from morula.prediction.confidence import needed_heads
    from morula.prediction.model import Model

    torch.set_num_threads(1)
    model = Model.load(options.run, engine="openvino").without_mirroring()
    wanted = [head.name for head in needed_heads(model.plan.representation, model.plan.ndim)]
    split = json.loads((options.run / "splits.json").read_text(encoding="utf-8"))
    request = (options.run / "request.toml").read_text(encoding="utf-8")
    raise NotImplementedError((find_dataset, read_image, split, request, wanted))


if __name__ == "__main__":
    pass
