"""Whole runs under `accelerate launch` and `torchrun`: the numbers of one process, and an end for all at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_loop import rows_of
from test_pipeline import PPO, REWARD, SFT, recipe
from test_ranks import ENVIRONMENT, LAUNCH

from homestretch.config.recipe import dump
from homestretch.config.shipped import launchers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PIPELINE = [SFT, {"negatives": {}}, REWARD, PPO, {"evaluate": {"max_examples": 6}}, {"report": {}}]
# Centred by prompts, returns cancel in the gradient of the value head's bias, and the first step of Adam would follow
# the sign of what rounding leaves of it.
OVERLAP = {"ppo": {**PPO["ppo"], "kl": "adaptive", "rewards": {"overlap": 1.0}, "reward_baseline": "none"}}
FAILING = """
import os, sys
from homestretch.cli.main import main
from homestretch.training import validation
inner = validation.Validator.metrics
def metrics(self, number):
    if number == 4 and os.environ["RANK"] == "1":
        raise SystemExit(3)
    return inner(self, number)
validation.Validator.metrics = metrics
main(sys.argv[1:])
"""


def launched(program: list[str], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, "train", *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A whole run of a recipe in one process, in two, and in two that share the weights out; the same of one that
    trains all weights; and a run in two processes of which the second stops half-way, then in two."""
    folder = tmp_path_factory.mktemp("runs")
    stages = [OVERLAP if stage is PPO else stage for stage in PIPELINE]
    named = [[*stage.items()] for stage in stages]
    (folder / "recipe.yaml").write_text(dump(recipe(folder, "llama", stages)))
    full = [{name: settings | ({"use_peft": False} if "lora_r" in settings else {})} for [(name, settings)] in named]
    (folder / "full.yaml").write_text(dump(recipe(folder, "gpt2", full)))
    (folder / "sft.yaml").write_text(dump(recipe(folder, "llama", [SFT])))
    (folder / "failing.py").write_text(FAILING)
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
    cpus, fsdp = (
        [*accelerate, "--num_processes", "2", "--config_file", str(launchers()[f"launch/{name}"]), "-m", "homestretch"]
        for name in ("cpus", "fsdp")
    )
    ways = {
        "one": ("recipe", [sys.executable, "-m", "homestretch"]),
        "two": ("recipe", cpus),
        "sharded": ("recipe", fsdp),
        "full": ("full", [sys.executable, "-m", "homestretch"]),
        "full-sharded": ("full", fsdp),
        "parted": ("sft", [*LAUNCH, str(folder / "failing.py")]),
        "resumed": ("sft", [*LAUNCH, "-m", "homestretch"]),
    }
    for name, (file, program) in ways.items():
        if name == "resumed":
            shutil.copytree(folder / "parted", folder / "resumed")
        done = launched(program, [str(folder / f"{file}.yaml"), "--out", str(folder / name)])
        assert (done.returncode != 0) == (name == "parted"), done.stderr[-3000:]
        (folder / f"{name}.out").write_text(done.stdout)
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "alone", "atol"), [("two", "one", 2e-6), ("sharded", "one", 5e-6), ("full-sharded", "full", 2e-5)]
)
def test_a_recipe_on_two_processes_gives_what_it_gives_on_one(runs, name, alone, atol):
    one, two = runs[alone], runs[name]
    files = [sorted(str(p.relative_to(run)) for p in run.rglob("*")) for run in (one, two)]
    assert files[0] == files[1] and len(files[0]) > 40
    for stage in ("01-sft", "03-reward", "04-ppo"):
        ours, theirs = (rows_of(run / "stages" / stage) for run in (two, one))
        assert len(ours) == len(theirs) >= 8
        for row, expected in zip(ours, theirs, strict=True):
            assert row.pop("doctor", None) == expected.pop("doctor", None)
            assert row == pytest.approx(expected, rel=1e-4, abs=atol)
        for weights in sorted((one / "stages" / stage / "model").rglob("*.safetensors")):
            a, b = load_file(weights), load_file(two / weights.relative_to(one))
            assert a.keys() == b.keys() and all((a[k] - b[k]).abs().max() < atol for k in a)
    for file in ("stages/02-negatives/negatives.jsonl", "recipe.yaml"):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    lines = [(run / "evaluation" / "generations.jsonl").read_text().splitlines() for run in (one, two)]
    texts = [[json.loads(line)["text"] for line in made] for made in lines]
    assert texts[0] == texts[1] and len(texts[0]) == 6 * 8
    assert runs[f"{name}.out"].read_text().count("report: ") == 1  # only one of them speaks


def test_a_process_that_stops_ends_all_and_the_run_goes_on_where_it_was(runs):
    assert [row["step"] for row in rows_of(runs["parted"] / "stages" / "01-sft")][-1] == 4
    two, resumed = (runs[name] / "stages" / "01-sft" for name in ("two", "resumed"))
    assert rows_of(resumed) == rows_of(two)
    for weights in sorted((two / "model").rglob("*.safetensors")):
        a, b = load_file(weights), load_file(resumed / weights.relative_to(two))
        assert all(torch.equal(a[k], b[k]) for k in a)
