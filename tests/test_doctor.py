"""What is read from Linux's description of the processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_tune.doctor import computes_bfloat16


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 amx_tile\nbugs\t\t: x\n", True),
        ("flags\t\t: fpu avx2 amx_bf16\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512_bf16x\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n", True),
        ("Features\t: fp asimd\n", False),
        ("processor\t: 0\nmodel name\t: flags bf16\n", None),
        ("", None),
    ],
)
def test_the_flags_tell(tmp_path: Path, text: str, expected: bool | None) -> None:
    description = tmp_path / "cpuinfo"
    description.write_text(text, encoding="utf-8")
    assert computes_bfloat16(description) is expected


def test_a_system_without_a_description_does_not_say(tmp_path: Path) -> None:
    assert computes_bfloat16(tmp_path / "cpuinfo") is None
