"""What the machine can do, read from the operating system; no torch, no environment variable."""

from pathlib import Path


def has_bfloat16(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 natively (AVX-512, AMX, Arm); False when unknown."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    words = {word for line in lines if line.startswith(("flags", "Features")) for word in line.split()}
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})
