"""Engines: the same network run by torch, OpenVINO or ONNX Runtime. Imports torch.

The network is exported once to an ONNX graph beside its weights, keyed by plan, weights and version of the
package; both engines read that graph. An engine takes the place of the network: image and wanted heads in,
list of one dict of logits out.
"""

import hashlib
import importlib.util
import queue
import threading
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from morula.data.files import write_atomic
from morula.errors import InputError
from morula.planning.plan import Plan
from morula.prediction import int8
from morula.prediction.confidence import needed_heads
from morula.prediction.int8 import Ranges

Engine = Literal["auto", "torch", "openvino", "openvino-int8", "onnxruntime"]
"""``auto`` is OpenVINO on a CPU where it is installed, else torch; with int8 where that pays and is there."""

Run = Callable[[np.ndarray], Sequence[np.ndarray]]
"""Image ``(batch, channels, *spatial)`` to the wanted heads' logits."""

_NEEDS: dict[str, tuple[str, ...]] = {
    "torch": (),
    "openvino": ("openvino", "onnx"),
    "openvino-int8": ("openvino", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
}

_OPSET = 17

_FORM = 2
"""Counts the changes of how networks are exported: older graphs do the same more slowly."""


def choose_engine(wanted: str, device: str, weights: Sequence[Path] = ()) -> Engine:
    """The engine to use: as wanted, or the fastest that is installed.

    Args:
        wanted: One of `Engine`.
        device: As torch names it; only torch runs on others than the CPU.
        weights: The model's files; int8 needs ranges beside each.

    Raises:
        InputError: There is no such engine, it is not installed, or it does not run on `device` or the model.
    """
    if wanted not in get_args(Engine):
        msg = f"there is no engine {wanted!r}; engines are {', '.join(get_args(Engine))}."
        raise InputError(msg)
    on_cpu = torch.device(device).type == "cpu"
    if wanted == "auto":
        if not on_cpu or not _installed("openvino"):
            return "torch"
        has_ranges = bool(weights) and all(Ranges.load(path) for path in weights)
        return "openvino-int8" if has_ranges and int8.pays() else "openvino"
    if not _installed(wanted):
        missing = " ".join(name for name in _NEEDS[wanted] if importlib.util.find_spec(name) is None)
        msg = f"engine {wanted} needs packages that are not installed: python -m pip install {missing}"
        raise InputError(msg)
    if wanted != "torch" and not on_cpu:
        msg = f"engine {wanted} runs on the CPU only, not on {device}. Choose --engine torch."
        raise InputError(msg)
    if wanted == "openvino-int8" and not all(Ranges.load(path) for path in weights):
        msg = "this model was not prepared for int8. Prepare a run: morula quantize RUN"
        raise InputError(msg)
    return wanted  # pyright: ignore[reportReturnType]


def _installed(engine: str) -> bool:
    return all(importlib.util.find_spec(name) for name in _NEEDS[engine])


def accelerate(network: nn.Module, plan: Plan, weights: Path, engine: Engine, streams: int = 1) -> nn.Module:
    """`network` run by `engine`; torch gives the network itself.

    Args:
        network: In evaluation mode, on the CPU.
        plan: Says channels and heads.
        weights: The file that `network` was loaded from; the graph is kept beside it.
        engine: As `choose_engine` gave it.
        streams: Passes that other threads may ask for at a time: OpenVINO then shares the cores among them,
            which wastes less than all cores on each pass in turn. The other engines take one at a time.

    Raises:
        InputError: The engine cannot run this network.
    """
    if engine == "torch":
        return network
    try:
        ranges = Ranges.load(weights) if engine == "openvino-int8" else None
        graph = Graph(export(network, plan, weights), engine, ranges, streams)
        wanted = tuple(head.name for head in needed_heads(plan.representation, plan.ndim))
        # Run once by one thread: what OpenVINO's bindings set up at their first use, two threads that come
        # first together would wait for forever.
        graph(torch.zeros(1, len(plan.channels), *(2 * d for d in plan.network.divisors(plan.ndim))), wanted)
    except Exception as error:  # each engine has errors of its own kind
        found = str(error).partition("\n")[0] or type(error).__name__
        msg = f"engine {engine} cannot run this network: {found} Choose --engine torch."
        raise InputError(msg) from error
    return graph


class Graph(nn.Module):
    """A graph in the network's place. It computes the wanted heads only."""

    def __init__(self, path: Path, engine: Engine, ranges: Ranges | None = None, streams: int = 1) -> None:
        """Of the graph at `path`, run by `engine`; in int8 with these `ranges`."""
        super().__init__()
        self._path, self._engine, self._ranges = path, engine, ranges
        self.streams = 1 if engine == "onnxruntime" else min(streams, torch.get_num_threads())
        self._runs: dict[tuple[str, ...], Run] = {}
        self._starting = threading.Lock()

    def start(self, wanted: tuple[str, ...]) -> "Run":
        """Compile for these heads, unless that is done."""
        with self._starting:
            if wanted not in self._runs:
                if self._engine == "onnxruntime":
                    self._runs[wanted] = _start_onnxruntime(self._path, wanted)
                else:
                    self._runs[wanted] = _start_openvino(self._path, wanted, self._ranges, self.streams)
            return self._runs[wanted]

    def forward(self, image: Tensor, wanted: tuple[str, ...]) -> list[dict[str, Tensor]]:
        """Image ``(batch, channels, *spatial)`` to one dict of the wanted heads' logits, in a list of one."""
        outputs = self.start(wanted)(np.ascontiguousarray(image.numpy()))
        return [{name: torch.from_numpy(logits) for name, logits in zip(wanted, outputs, strict=True)}]


class _Outputs(nn.Module):
    """The network with its logits as a tuple, which is what a graph can hold."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits = self.network(image)[0]
        return tuple(logits[name] for name in self.names)


def export(network: nn.Module, plan: Plan, weights: Path) -> Path:
    """The exported graph of the network with these weights, from the first folder that has or takes it."""
    names = tuple(head.name for head in plan.representation.heads(plan.ndim))
    # The version too: a later one may compute something else with the same weights.
    facts = f"{plan.hash} {version('morula')} {_FORM}".encode()
    key = hashlib.sha256(facts + weights.read_bytes()).hexdigest()[:12]
    name = f"{weights.stem}-{key}.onnx"
    folders = (weights.parent, Path.home() / ".cache" / "morula")
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    try:
        exported = _export(network, plan, folders[0] / name, names)
        for former in {*folders[0].glob(f"{weights.stem}-*.onnx")} - {exported}:
            former.unlink(missing_ok=True)
        return exported
    except (OSError, InputError):
        # The package's own folder may be read-only.
        folders[1].mkdir(parents=True, exist_ok=True)
        return _export(network, plan, folders[1] / name, names)


def _export(network: nn.Module, plan: Plan, path: Path, names: tuple[str, ...]) -> Path:
    divisors = plan.network.divisors(plan.ndim)
    example = torch.zeros(1, len(plan.channels), *(2 * d for d in divisors))
    spatial = {axis: f"n{axis}" for axis in range(2, 2 + plan.ndim)}
    with write_atomic(path) as temporary, warnings.catch_warnings():
        # Tracing warns of sizes that become constants; the tests compare other sizes with torch.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Outputs(network, names).to(memory_format=torch.contiguous_format),  # pyright: ignore[reportCallIssue, reportArgumentType]
            (example,),
            str(temporary),
            dynamo=False,
            input_names=["image"],
            output_names=list(names),
            dynamic_axes={"image": {0: "batch", **spatial}},
            opset_version=_OPSET,
        )
    return path


def _start_openvino(graph: Path, wanted: tuple[str, ...], ranges: Ranges | None, streams: int) -> Run:
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": streams}
    if ranges is None:
        model = core.read_model(graph)
    else:
        model = int8.read(graph)
        int8.quantize(model, ranges)
    for result in model.get_results():
        if not result.output(0).names & {*wanted}:
            model.remove_result(result)
    compiled = core.compile_model(model, "CPU", settings)
    idle: queue.LifoQueue[Any] = queue.LifoQueue()
    for _ in range(streams):
        idle.put(compiled.create_infer_request())

    def run(image: np.ndarray) -> Sequence[np.ndarray]:
        request = idle.get()
        try:
            request.infer([image], share_inputs=True)
            # Copies: the next call overwrites the engine's own output buffers.
            return [np.array(request.get_tensor(name).data) for name in wanted]
        finally:
            idle.put(request)

    return run


def _start_onnxruntime(graph: Path, wanted: tuple[str, ...]) -> Run:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"])
    return lambda image: [np.asarray(out) for out in session.run(list(wanted), {"image": image})]
