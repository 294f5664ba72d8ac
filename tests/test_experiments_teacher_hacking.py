"""The experiment on teacher hacking: what it concludes from a record, and that it ends with one object."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tiny
import torch
from offline_runs import data
from scripts import loaded
from test_lab_page import case, record

from homestretch.config.lab import LabOverrides
from homestretch.policies.load import load_whole
from homestretch.results import Measured

FILE = Path(__file__).resolve().parent.parent / "experiments" / "teacher_hacking" / "run.py"


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    return loaded("teacher_hacking", "teacher_hacking/run.py")


def test_checks_are_those_of_the_sheet(experiment: ModuleType) -> None:
    found = experiment.checks(record())
    assert {name: check["holds"] for name, check in found.items()} == {
        "offline_turns_up": True,
        "online_student_does_not": True,
    }
    more = {name: case({0: 5}, "prompts") for name in ("prompts_half", "prompts_fifth")}
    values = {"prompts_half": 0.4, "prompts_fifth": 0.9}
    rises = {name: Measured(value=value, low=value, high=value, n=1) for name, value in values.items()}
    more = {name: each.model_copy(update={"rise": rises[name]}) for name, each in more.items()}
    wider = record().model_copy(update={"cases": {**record().cases, **more}})
    assert experiment.checks(wider)["fewer_prompts_are_worse"] == {"holds": False, "rises": [0.5, 0.4, 0.9]}
    offline = record().cases["offline"]
    well = {seed: run.model_copy(update={"hacked": False}) for seed, run in offline.runs.items()}
    healthy = record().model_copy(update={"cases": {"offline": offline.model_copy(update={"runs": well})}})
    assert not experiment.checks(healthy)["offline_turns_up"]["holds"], "a rise is never below 0"


def test_a_given_oracle_is_neither_trained_nor_told_its_vocabulary(experiment: ModuleType) -> None:
    for quick in (True, False):
        small, given = (experiment.settings_of(quick, oracle, ["lab.epochs=7"]) for oracle in (None, "mine"))
        left_out = [text for text in small if text not in given]
        assert left_out and all(text.startswith(("oracle.", "lab.vocabulary=")) for text in left_out)
        assert given[-1] == "lab.epochs=7" and LabOverrides.of(given).oracle == [] != LabOverrides.of(small).oracle


def test_a_shorter_model_has_layers_of_the_longer_one_and_speaks(tmp_path: Path) -> None:
    shorter = loaded("shorter", "teacher_hacking/shorter.py")
    assert shorter.kept(30, 10) == [0, 3, 6, 10, 13, 16, 19, 23, 26, 29]
    with pytest.raises(ValueError, match="5 layers cannot be taken of 4; give --layers between 2 and 4"):
        shorter.kept(4, 5)
    tiny.llama(layers=4).save_pretrained(tmp_path / "long")
    tiny.tokenizer().save_pretrained(tmp_path / "long")
    assert shorter.shorten(str(tmp_path / "long"), 2, tmp_path / "short") == [0, 3]
    long, short = (load_whole(str(tmp_path / name)).lm for name in ("long", "short"))
    assert len(short.model.layers) == 2
    assert torch.equal(short.model.layers[1].mlp.up_proj.weight, long.model.layers[3].mlp.up_proj.weight)
    assert short.generate(torch.tensor([[5, 6]]), max_new_tokens=3, do_sample=False).shape[1] > 2


def test_absent_data_are_said_in_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, FILE, "--data", tmp_path / "none"], capture_output=True, text=True)
    assert done.returncode == 1 and "there is no such folder" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_quick_run_ends_with_one_object(tmp_path: Path) -> None:
    small = ["lab.oracle_prompts=8", "lab.distill_prompts=16", "lab.epochs=8", "lab.validation_prompts=3"]
    small += ["oracle.learning_rate=0.02", "oracle.max_steps=120", "sft.max_steps=3", "distill.train_batch_size=8"]
    (tmp_path / "webnlg").mkdir()
    Path(data(tmp_path)).rename(tmp_path / "webnlg" / "train.jsonl")
    command = [sys.executable, FILE, "--quick", "--data", tmp_path, "--out", tmp_path / "lab", *small]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["name"] == "teacher_hacking" and last["quick"] and set(last["hacked"]) == set(last["cases"])
    assert (tmp_path / "lab_quick" / "lab.html").is_file()
