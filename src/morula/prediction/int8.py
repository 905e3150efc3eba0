"""Networks in 8-bit integers: faster where the processor multiplies those, but no bfloat16.

What goes into each convolution of stride 1 is rounded to 256 levels between the ends of a range, its weights
to 255 levels per output channel (Jacob et al. 2018, https://arxiv.org/abs/1712.05877). OpenVINO computes
with integers where it meets such rounding. The ranges are measured once, on patches of training images, and
lie beside the weights, in ``weights.int8.toml``; the rounding is put into the graph when it is loaded.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from morula.data.files import write_text
from morula.errors import InputError
from morula.spec import Spec, dump_toml, read_toml, validate


class Ranges(Spec, frozen=True):
    """What ``weights.int8.toml`` holds."""

    weights: str
    """Of the weights that the ranges were measured with, see `digest`."""

    low: tuple[float, ...]
    """Smallest value that goes into each convolution, in the order in which the graph computes them."""

    high: tuple[float, ...]
    """Largest value."""

    @classmethod
    def load(cls, weights: Path) -> "Ranges | None":
        """Those beside a file of weights; None when there are none.

        Raises:
            InputError: The file is broken, or of other weights.
        """
        path = _place(weights)
        if not path.exists():
            return None
        found = validate(cls, read_toml(path))
        if found.weights != digest(weights):
            msg = f"{path} was measured with other weights. Measure again (morula quantize), or delete it."
            raise InputError(msg)
        return found

    def save(self, weights: Path) -> None:
        """Write them beside a file of weights."""
        write_text(_place(weights), dump_toml(self.model_dump()))


def remove(weights: Path) -> None:
    """Delete the ranges beside a file of weights, if there are any."""
    _place(weights).unlink(missing_ok=True)


def _place(weights: Path) -> Path:
    return weights.with_suffix(".int8.toml")


def digest(weights: Path) -> str:
    """Twelve hexadecimal digits of a file's content."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:12]


def pays() -> bool:
    """Whether this processor computes faster with integers; where it has 16-bit floats, hardly."""
    import openvino

    able = set(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    return "INT8" in able and not able & {"BF16", "FP16"}


def measure_ranges(graph: Path, weights: Path, patches: Iterable[np.ndarray]) -> Ranges:
    """The mean over `patches` of the smallest and of the largest value that goes into each convolution.

    Args:
        graph: The exported network.
        weights: The file that it was made of.
        patches: Normalised images ``(batch, channels, *spatial)``.
    """
    import openvino
    from openvino import opset13 as operations

    model = read(graph)
    convolutions = _convolutions(model)
    model.add_results([operations.result(each.input_value(0)) for each in convolutions])
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    rows = []
    for patch in patches:
        inputs = list(request.infer([patch]).values())[-len(convolutions) :]
        rows.append([(float(values.min()), float(values.max())) for values in inputs])
    low, high = np.mean(rows, axis=0).T.round(6).tolist()
    return Ranges(weights=digest(weights), low=tuple(low), high=tuple(high))


def read(graph: Path) -> Any:
    """OpenVINO's form of an exported network, with the weights of every convolution as a constant."""
    import openvino
    from openvino.passes import ConstantFolding, Manager

    model = openvino.Core().read_model(graph)
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    return model


def quantize(model: Any, ranges: Ranges) -> None:
    """Round what goes into the convolutions of a graph from `read`, and their weights.

    Raises:
        InputError: The ranges are of another graph.
    """
    convolutions = _convolutions(model)
    if len(convolutions) != len(ranges.low):
        msg = (
            f"the ranges for int8 are of {len(ranges.low)} convolutions, the network has {len(convolutions)}."
            " Measure again: morula quantize"
        )
        raise InputError(msg)
    for convolution, low, high in zip(convolutions, ranges.low, ranges.high, strict=True):
        first, last = with_zero(low, high)
        _round(convolution, 0, np.array(first, np.float32), np.array(last, np.float32), 256)
        weights = convolution.input_value(1).get_node().get_data()
        inputs = tuple(range(1, weights.ndim))
        largest = np.maximum(np.abs(weights).max(inputs, keepdims=True), np.float32(1e-12))
        _round(convolution, 1, -largest, largest, 255)
    model.validate_nodes_and_infer_types()


def _round(node: Any, place: int, low: np.ndarray, high: np.ndarray, levels: int) -> None:
    """Put rounding before the input at `place`."""
    from openvino import opset13 as operations

    first, last = operations.constant(low), operations.constant(high)
    rounded = operations.fake_quantize(node.input_value(place), first, last, first, last, levels=levels)
    node.input(place).replace_source_output(rounded.output(0))


def with_zero(low: float, high: float, levels: int = 256) -> tuple[float, float]:
    """The range, widened to hold 0 and moved so that 0 is one of its levels: padding stays exact.

    >>> with_zero(0.5, 255.0), with_zero(-0.6, 254.4)
    ((0.0, 255.0), (-1.0, 254.0))
    """
    low, high = min(low, 0.0), max(high, 0.0, low + 1e-6)
    step = (high - low) / (levels - 1)
    below = round(-low / step)
    return -below * step, (levels - 1 - below) * step


def _convolutions(model: Any) -> list[Any]:
    """Those of stride 1, nearly all of the work."""
    # OpenVINO 2026.4 computes some others, 2x2 of stride 2 with 8 channels, wrongly in int8.
    found = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    return [node for node in found if set(node.get_attributes()["strides"]) == {1}]
