"""Where the time of ``morula predict`` goes, stage by stage, one image after the other.

``python benchmarks/stages.py [--model NAME] [--images 4] [--size 1024] [--threads 2] [--mirror WHICH]
[--diameter trained] [--out FILE.json]``. Stages are functions of the package, timed from outside; a stage's
time is its own, without the stages that it calls. In a real run several images are under way and the stages
of different images overlap; here every image is a run of its own.

An earlier state of the package is measured with the same script::

    git worktree add BEFORE COMMIT
    PYTHONPATH=BEFORE/src python benchmarks/stages.py --out before.json
"""

import argparse
import importlib
import inspect
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import date
from functools import wraps
from pathlib import Path
from typing import Any

import tifffile
import torch

from memory import synthetic_nuclei

P = "morula.prediction."
STAGES = {
    "start and record": (P + "predict:_load", P + "record:Record.save"),
    "read": (P + "predict:read_image",),
    "estimate the scale": (P + "model:find_zoom",),
    "normalise": ("morula.preprocessing.intensity:Normalizer.measure",
                  "morula.preprocessing.intensity:Normalizer.apply"),
    "network": (P + "ensemble:Ensemble._forward",),
    "mirror, activate, average": (P + "ensemble:Ensemble.maps",),
    "cut and blend": (P + "large:Window.take",),
    "decode": (P + "large:decode_to_shape", P + "scorer:Scorer.decode"),
    "confidence": (P + "large:evidence", P + "large:evidence_sums", P + "large:quality_sums",
                   P + "large:doubt_sums"),
    "reliability": (P + "model:judge",),
    "number": (P + "large:_Seams.add", P + "large:_Seams.finish"),
    "measure": (P + "predict:measure",),
    "overlay": (P + "predict:draw_overlay",),
    "write": (P + "predict:write_labels", P + "predict:write_picture",
              P + "measurements:Measurements.append"),
}  # fmt: skip
WHOLE = "estimate the scale"
"""A stage that is not taken apart."""

ONCE = ("start and record", "rest")
"""What a call of `predict` takes once, however many images it is given."""


class Clock:
    """Own time of every stage, over all threads."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.stacks: dict[int, list[tuple[str, list[float]]]] = {}

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its time noted under `stage`."""

        @wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:
            stack = self.stacks.setdefault(threading.get_ident(), [])
            if WHOLE in [name for name, _ in stack]:
                return function(*arguments, **named)
            stack.append((stage, [0.0]))
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                elapsed = time.perf_counter() - start
                _, inner = stack.pop()
                self.seconds[stage] += elapsed - inner[0]
                if stack:
                    stack[-1][1][0] += elapsed

        return run

    def watch(self) -> None:
        """Put the timed functions in place of the package's; those that it lacks are passed over."""
        for stage, places in STAGES.items():
            for place in places:
                module, _, path = place.partition(":")
                owner: Any = importlib.import_module(module)
                *outer, name = path.split(".")
                for part in outer:
                    owner = getattr(owner, part)
                if name not in vars(owner):
                    continue
                found = vars(owner)[name]
                if isinstance(found, classmethod):
                    setattr(owner, name, classmethod(self.timed(stage, found.__func__)))
                else:
                    setattr(owner, name, self.timed(stage, found))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds per megapixel and stage."""
    from morula.prediction.predict import predict

    torch.set_num_threads(options.threads)
    given: dict[str, Any] = {"model": options.model}
    if options.mirror:
        given["mirror"] = options.mirror
    if options.diameter and "trained" in str(inspect.signature(predict)):
        given["diameter"] = options.diameter
    clock = Clock()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number in range(options.images + 1):
            tifffile.imwrite(folder / f"{number}.tif", synthetic_nuclei(options.size, 1, seed=number))
        predict([folder / "0.tif"], folder / "first", **given)
        clock.watch()
        start = time.perf_counter()
        for number in range(1, options.images + 1):
            predict([folder / f"{number}.tif"], folder / f"out_{number}", **given)
        seconds = time.perf_counter() - start
    megapixels = options.images * options.size**2 / 1e6
    clock.seconds["rest"] = seconds - sum(clock.seconds.values())
    return {
        stage: clock.seconds[stage] / megapixels * 1e3
        for stage in (*STAGES, "rest")
        if stage in clock.seconds
    }


def main() -> None:
    """Measure, print, and write JSON when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="generalist")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mirror", help="none, opposite or all; as the model's plan says unless given")
    parser.add_argument("--diameter", help="'trained' leaves the estimate of the scale out")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measure(options)
    total = sum(value for stage, value in found.items() if stage not in ONCE)
    for stage, value in found.items():
        share = "once" if stage in ONCE else f"{value / total:.0%}"
        print(f"{stage:28} {value:8.1f} ms per megapixel {share:>5}")
    if options.out:
        facts = {"date": date.today().isoformat(), "command": " ".join(["python", *sys.argv])}
        options.out.write_text(json.dumps({**facts, "ms_per_megapixel": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
