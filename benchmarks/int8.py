"""What int8 brings and costs: time of the network, and accuracy on a run's validation images.

    python benchmarks/int8.py RUN [--out FILE.json]

Prepares RUN as ``morula quantize`` does. Times are processor time of one thread for one image of 1024 x 1024
and one pass, OpenVINO's own choice of arithmetic and int8 in turns, the median of seven: on this processor,
and on what it would be without AMX and bfloat16, as most laptops are (oneDNN can be kept from using them).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

SIDE, ROUNDS = 1024, 7
PROCESSORS = {
    "as it is": {},
    "without AMX and bfloat16": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"},
}
"""Settings of oneDNN's environment."""


def clock(run: Path) -> dict[str, float]:
    """Milliseconds without and with int8."""
    import openvino

    from morula.prediction import int8
    from morula.prediction.confidence import needed_heads
    from morula.prediction.engines import export
    from morula.prediction.ensemble import ready
    from morula.prediction.model import load_network
    from morula.prediction.shipped import read_plan, weight_files

    plan, weights = read_plan(run), weight_files(run)[0]
    graph = export(ready(load_network(plan, weights), plan.ndim), plan, weights)
    wanted = {head.name for head in needed_heads(plan.representation, plan.ndim)}
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1}
    if "ONEDNN_MAX_CPU_ISA" in os.environ:
        # OpenVINO asks the processor itself, and would imitate bfloat16.
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    shape = (1, len(plan.channels), SIDE, SIDE)
    image = np.random.default_rng(0).random(shape, np.float32)
    requests = {}
    for name, ranges in (("float", None), ("int8", int8.Ranges.load(weights))):
        model = int8.read(graph)
        if ranges is not None:
            int8.quantize(model, ranges)
        for result in model.get_results():
            if not result.output(0).names & wanted:
                model.remove_result(result)
        model.reshape(shape)
        requests[name] = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    seconds: dict[str, list[float]] = {name: [] for name in requests}
    for _ in range(1 + ROUNDS):
        for name, request in requests.items():
            start = time.process_time()
            request.infer([image])
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(found[1:]) * 1e3 for name, found in seconds.items()}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Scores, and milliseconds per processor."""
    from machine import describe
    from morula.training.quantize import quantize_run

    summary = quantize_run(options.run)
    rows = {}
    for name, settings in PROCESSORS.items():
        words = [sys.executable, __file__, "--clock", str(options.run)]
        found = subprocess.run(words, env={**os.environ, **settings}, check=True, capture_output=True)
        rows[name] = json.loads(found.stdout)
    return {
        "date": date.today().isoformat(),
        **describe(),
        "command": " ".join(["python", *sys.argv]),
        "accepted": summary.accepted, "before": summary.before, "after": summary.after,
        "rows": rows,
    }  # fmt: skip


def main() -> None:
    """Measure, print, and write JSON when asked."""
    if sys.argv[1:2] == ["--clock"]:
        print(json.dumps(clock(Path(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measure(options)
    for name, row in found["rows"].items():
        print(
            f"{name:26} {row['float']:5.0f} ms, int8 {row['int8']:5.0f} ms, x{row['float'] / row['int8']:.2f}"
        )
    print(f"before {found['before']}, with int8 {found['after']}")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
