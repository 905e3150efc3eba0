"""What the machine can do, read from the operating system; no torch, no environment variable."""

import ctypes
import math
import os
from pathlib import Path

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3
"""Of glibc's malloc.h."""


def has_bfloat16(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 natively (AVX-512, AMX, Arm); False when unknown."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    words = {word for line in lines if line.startswith(("flags", "Features")) for word in line.split()}
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def give_memory_back() -> None:
    """Let freed memory go back to the system at once, where the C library is glibc; for whole programs.

    glibc keeps a heap for every thread, and raises the size from which on memory is returned with the first
    large array that is freed: a peak that nobody needs any more stays. On an image of 8192 x 8192 pixels that
    was a fifth of the memory of ``morula predict``.
    """
    try:
        configure = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    configure(_M_ARENA_MAX, 2)
    configure(_M_MMAP_THRESHOLD, 4 << 20)


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: those it is bound to, and no more than its container's share of time.

    Args:
        root: Of the file system, where Linux tells of control groups (``/proc/self/cgroup``).
    """
    try:
        bound = len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux binds processes
        bound = os.cpu_count() or 1
    return max(1, math.ceil(min(bound, _quota(root))))


def _quota(root: Path) -> float:
    """Processor time per wall time that the control groups around this process allow; infinite for none."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    groups = [Path(line.split("::", 1)[1].lstrip("/")) for line in lines if line.startswith("0::")]
    mount = root / "sys/fs/cgroup"
    limits = [mount / above / "cpu.max" for group in groups for above in (group, *group.parents)]
    quotas = [_share(path) for path in limits]
    # The older layout has one folder for processor time, and two files in it.
    old = mount / "cpu"
    return min([math.inf, *quotas, _share(old / "cpu.cfs_quota_us", old / "cpu.cfs_period_us")])


def _share(*paths: Path) -> float:
    """Quota over period from files that hold these two numbers; infinite where there is no limit."""
    try:
        quota, period = (float(word) for path in paths for word in path.read_text(encoding="utf-8").split())
    except (OSError, ValueError):  # no such file, or "max"
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf
