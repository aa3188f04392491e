"""What the processor of this machine can do, asked without importing TensorFlow."""

from __future__ import annotations

from pathlib import Path

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}  # as Linux names them: x86, then ARM
_LISTS = {"flags", "Features"}


def computes_bfloat16(description: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether the processor has instructions for bfloat16; without them it is slower than float32.

    Args:
        description: of the processor, as Linux writes it.

    Returns:
        None where the system does not say, as on macOS.
    """
    try:
        lines = description.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip() in _LISTS:
            return not _BFLOAT16.isdisjoint(values.split())
    return None
