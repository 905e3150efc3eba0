"""Whether int8 pays: time of the network, and accuracy on a run's validation images, against bfloat16.

    python benchmarks/int8.py RUN [--images 60] [--python /work/env/int8/bin/python] [--out FILE.json]

The graph that OpenVINO runs is quantised by NNCF (``pip install nncf openvino``, an environment of its own)
with 100 random patches of images that the run trained on, as they lie in its folder ``prepared``. Seconds are
processor time of one thread for one image of 1024 x 1024, in turns, the median of nine.
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
        small = nncf.quantize(model, data, subset_size=len(patches), preset=kind)
        openvino.save_model(small, f"{out}/{preset}.xml")


def only(model: Any, wanted: list[str]) -> Any:
    """A graph without the outputs that decoding does not read."""
    for result in model.get_results():
        if not result.output(0).names & {*wanted}:
            model.remove_result(result)
    return model


def patches_of(folders: list[Path]) -> np.ndarray:
    """Random normalised patches ``(n, C, 256, 256)``."""
    rng = np.random.default_rng(0)
    found = []
    for number in rng.permutation(len(folders)):
        pixels = np.load(folders[number] / "image.npy", mmap_mode="r")
        if min(pixels.shape[1:]) >= SIDE and len(found) < PATCHES:
            y, x = (rng.integers(0, n - SIDE + 1) for n in pixels.shape[1:])
            found.append(pixels[:, y : y + SIDE, x : x + SIDE].astype(np.float32))
    return np.stack(found)


def compiled(
    path: Path, wanted: list[str], shape: tuple[int, ...]
) -> Callable[[np.ndarray], list[np.ndarray]]:
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


def accuracy(model: Any, graph: Path, wanted: list[str], folders: list[Path]) -> dict[str, float]:
    """Pooled AP of whole images, no mirror images, with one graph in the network's place."""
    from morula.labels.matching import match
    from morula.prediction.tiles import tile_grid

    plan = model.plan
    counts = {"ap50": np.zeros(2), "ap75": np.zeros(2)}
    for folder in folders:
        pixels = np.load(folder / "image.npy").astype(np.float32)
        truth = np.load(folder / "labels.npy")
        side = tile_grid(truth.shape, (4096, 4096), 0, plan.network.divisors(2)).tile
        missing = [(0, 0), *[(0, n - have) for n, have in zip(side, truth.shape, strict=True)]]
        logits = compiled(graph, wanted, (1, len(pixels), *side))(
            np.pad(pixels, missing, mode="symmetric")[None]
        )
        maps = {
            name: (1 / (1 + np.exp(-values[0])))[(slice(None), *[slice(n) for n in truth.shape])]
            for name, values in zip(wanted, logits, strict=True)
        }
        found = plan.representation.decode(maps, plan.working_spacing)
        for name, row in zip(counts, match(truth, found, (0.5, 0.75)), strict=True):
            counts[name] += (row.tp, row.tp + row.fp + row.fn)
    return {name: float(tp / total) for name, (tp, total) in counts.items()}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and scores per graph; for networks whose decoder reads sigmoid heads."""
    import torch

    from machine import describe
    from morula.prediction.confidence import needed_heads
    from morula.prediction.model import Model

    torch.set_num_threads(1)
    model = Model.load(options.run, engine="openvino")
    wanted = [head.name for head in needed_heads(model.plan.representation, model.plan.ndim)]
    graph = max(options.run.glob("fold_*/*.onnx"), key=lambda path: path.stat().st_mtime)
    held = json.loads((options.run / "splits.json").read_text(encoding="utf-8"))["validation"][0]
    folders = sorted(
        path.parent for path in (options.prepared or options.run / "prepared").rglob("labels.npy")
    )
    validation = [folder for folder in folders if folder.name in set(held)][: options.images]
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        patches = Path(temporary) / "patches.npy"
        np.save(patches, patches_of([folder for folder in folders if folder.name not in set(held)]))
        words = [str(graph), str(patches), temporary, *wanted]
        subprocess.run(
            [str(options.python), __file__, "--quantize", *words], check=True, stdout=subprocess.DEVNULL
        )
        graphs = {"bfloat16": graph} | {f"int8, {p}": Path(temporary) / f"{p}.xml" for p in PRESETS}
        image = np.random.default_rng(0).random((1, len(model.plan.channels), 1024, 1024), np.float32)
        runs = {name: compiled(path, wanted, image.shape) for name, path in graphs.items()}
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(10):
            for name, run in runs.items():
                start = time.process_time()
                run(image)
                seconds[name].append(time.process_time() - start)
        for name, path in graphs.items():
            scores = accuracy(model, path, wanted, validation)
            rows[name] = {"ms": statistics.median(seconds[name][1:]) * 1e3, **scores}
    facts = {"date": date.today().isoformat(), **describe(), "command": " ".join(["python", *sys.argv])}
    return {**facts, "images": len(validation), "rows": rows}


def main() -> None:
    """Measure, print, and write JSON when asked."""
    if sys.argv[1:2] == ["--quantize"]:
        graph, patches, out, *wanted = sys.argv[2:]
        quantize(graph, patches, out, wanted)
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--prepared", type=Path, help="where the run's prepared images lie, if elsewhere")
    parser.add_argument("--python", type=Path, default=Path("/work/env/int8/bin/python"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measure(options)
    for name, row in found["rows"].items():
        print(f"{name:20} {row['ms']:6.0f} ms  AP@.5 {row['ap50']:.3f}  AP@.75 {row['ap75']:.3f}")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
