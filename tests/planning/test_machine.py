import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from morula.planning.machine import has_bfloat16, usable_cores


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t: sse avx512_bf16 avx", True),
        ("Features : fp bf16", True),
        ("flags : sse avx512f", False),
        ("", False),
    ],
)
def test_has_bfloat16(tmp_path, text, expected):
    path = tmp_path / "cpuinfo"
    path.write_text(f"model name : amx_bf16 in a name counts not\n{text}\n")
    assert has_bfloat16(path) is expected


def test_unknown_machine():
    assert has_bfloat16(Path("/does/not/exist")) is False


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1), ("3200000 100000", 8), ("", 8)],
)
def test_a_container_has_as_many_cores_as_its_quota(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    root = write(tmp_path, proc__self__cgroup="0::/pod/box\n", sys__fs__cgroup__pod__cpu_dot_max=quota)
    assert usable_cores(root) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("300000", 3)])
def test_the_older_layout_of_control_groups(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    write(tmp_path, proc__self__cgroup="4:cpu,cpuacct:/box\n")
    (tmp_path / "sys/fs/cgroup/cpu").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_period_us").write_text("100000")
    assert usable_cores(tmp_path) == cores


def test_cores_that_the_process_is_bound_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert usable_cores(tmp_path) == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores(tmp_path) == 6


KEPT_MIB = """
import numpy as np
from pathlib import Path
from morula.planning.machine import give_memory_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

if {ask}:
    give_memory_back()
before = resident()
np.ones(30 << 17)
arrays = [np.ones(20 << 17) for _ in range(8)]
above = bytearray(100_000)
arrays.clear()
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_goes_back_to_the_system():
    words = [[sys.executable, "-c", KEPT_MIB.format(ask=ask)] for ask in (True, False)]
    given_back, kept = (int(subprocess.run(each, capture_output=True, check=True).stdout) for each in words)
    assert given_back < 10 < 100 < kept
