"""What a figure was measured on, for every benchmark."""

import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from morula.planning.machine import usable_cores

LIBRARIES = ("morula", "torch", "openvino", "onnxruntime", "numpy", "numba", "scikit-image")


def describe() -> dict[str, Any]:
    """Processor, cores and versions."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"machine": processor(), "cores": usable_cores(), "libraries": found}


def processor() -> str:
    """Its name, and the matrix units that it has."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    facts = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    known = [unit for unit in ("avx512_bf16", "amx_bf16", "amx_int8") if unit in facts.get("flags", "")]
    return f"{facts.get('model name', platform.machine())} ({', '.join(known) or 'no matrix units'})"


def matrix_rate(dtype: torch.dtype, n: int = 2048) -> float:
    """Multiply-adds per second, in units of 1e9, of one square matrix product; the best of five."""
    a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
    return n**3 / best_of(5, lambda: a @ b) / 1e9


def bandwidth(megabytes: int = 256) -> float:
    """Gigabytes a second, read and written, of copying one large array by all threads; the best of five."""
    source = torch.zeros(megabytes << 18)
    target = torch.empty_like(source)
    return 2 * megabytes * 2**20 / best_of(5, lambda: target.copy_(source)) / 1e9


def best_of(times: int, work: Any) -> float:
    """Seconds of the quickest run."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return float(np.min(seconds))
