"""The code on the page about generation runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tiny

PAGE = Path(__file__).resolve().parent.parent / "docs" / "generation.md"


def test_the_code_of_the_page_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {"model": tiny.save(tmp_path, "llama")}
    capsys.readouterr()
    exec(code, names)
    assert len(capsys.readouterr().out.splitlines()) >= 6
