"""The page on adding an algorithm, followed to the letter in a copy of the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from pages import DOCS, ROOT, Block, blocks, lines_of
from test_pipeline import pairs

pytestmark = pytest.mark.slow

PAGE = DOCS / "adding-an-algorithm.md"
COPIED = ("src/homestretch", "recipes", "launch", "tests")
SMALL = ["focal.max_steps=40", "focal.learning_rate=0.01", "focal.train_batch_size=8", "focal.eval_examples=4"]
SMALL += ["focal.lora_r=8", "focal.bf16=false", "dataset.name=pairs.jsonl", "model_name_or_path=model"]
SMALL += ["evaluate.metrics=[la_rougeL]", "dataset.max_test=4"]


def inserted(text: str, diff: str) -> str:
    """The text with the `+` lines of a diff, each behind the line before it, which must stand there exactly once."""
    lines, at = text.splitlines(), -1
    for line in diff.splitlines():
        if line.startswith("+"):
            at += 1
            lines.insert(at, line[1:])
        elif line != " ...":
            assert lines.count(line[1:]) == 1, f"{line[1:]!r} stands {lines.count(line[1:])} times in the file"
            at = lines.index(line[1:])
    return "\n".join(lines) + "\n"


def add(block: Block, root: Path) -> None:
    """Write a new file, or change one that is there."""
    file = root / block.title
    if block.language == "diff":
        file.write_text(inserted(file.read_text(encoding="utf-8"), block.code), encoding="utf-8")
    else:
        assert not file.exists(), "a new file"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.code, encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which everything on the page has been done."""
    root = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    for block in blocks(PAGE):
        if block.title:
            add(block, root)
    tiny.save(root / "model", "llama", std=0.08)
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs(60)), encoding="utf-8")
    return root


def run(root: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    line = [sys.executable, *command]
    done = subprocess.run(line, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_costs_four_files_and_two_lines() -> None:
    titled = [block for block in blocks(PAGE) if block.title]
    assert sum(block.language != "diff" for block in titled) == 4
    changed = [block for block in titled if block.language == "diff" and block.title.startswith("src/")]
    lines = [line for block in changed for line in block.code.splitlines() if line.startswith("+")]
    assert len([line for line in lines if not line.startswith("+from ")]) == 2
    assert len(lines) == 4, "two lines and their imports"


def test_a_line_goes_behind_the_one_before_it() -> None:
    assert inserted("a\nb\nc\n", " b\n+x\n+y\n ...\n c\n+z\n") == "a\nb\nx\ny\nc\nz\n"
    with pytest.raises(AssertionError, match="'d' stands 0 times"):
        inserted("a\n", " d\n+x\n")


def test_the_commands_of_the_page_work(copy: Path) -> None:
    [code] = [block.code for block in blocks(PAGE) if block.language == "bash"]
    tests, check, train = [line.split() for line in lines_of(code)]
    assert tests[:3] == ["python", "-m", "pytest"]
    passed = run(copy, *tests[1:], "-p", "no:cacheprovider").splitlines()[-1]
    assert " passed" in passed and "failed" not in passed and int(passed.split()[0]) >= 12
    assert "focal, evaluate, report" in run(copy, "-m", *check)
    run(copy, "-m", *train, *SMALL)
    stage = copy / "runs" / "focal" / "stages" / "01-focal"
    rows = [json.loads(line) for line in (stage / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 40 and sum(losses[-5:]) < 0.8 * sum(losses[:5]), "it learns"
    assert all(row["nll"] > row["loss"] for row in rows if "loss" in row), "likely tokens count less"
    listed = run(copy, "-m", "homestretch", "recipes", "ls")
    assert "focal: you have pairs and nothing else, and what the model knows" in listed


def test_the_new_method_is_one_of_the_house(copy: Path) -> None:
    """The rules of the house hold in the copy: layers, sizes, docstrings, settings that are read."""
    names = ["test_layers.py", "test_public_names.py::test_nothing_public_is_silent"]
    names += ["test_contract.py::test_every_algorithm_file_is_here"]
    files = [block.title for block in blocks(PAGE) if block.title.endswith(".py")]
    for check in (["check"], ["format", "--check"]):
        run(copy, "-m", "ruff", *check, *files)
    run(copy, "-m", "pytest", "-p", "no:cacheprovider", *[f"tests/{name}" for name in names])
