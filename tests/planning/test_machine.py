from pathlib import Path

import pytest

from morula.planning.machine import has_bfloat16


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
