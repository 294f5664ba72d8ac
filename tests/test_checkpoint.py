"""Checkpoints that are damaged are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_loop import Killed, run

from homestretch.errors import CheckpointError


def damage(folder: Path, how: str) -> None:
    if how == "flipped byte":
        data = bytearray((folder / "tensors.safetensors").read_bytes())
        data[-7] ^= 1
        (folder / "tensors.safetensors").write_bytes(data)
    elif how == "cut state":
        text = (folder / "state.json").read_text()
        (folder / "state.json").write_text(text[: len(text) // 2])
    else:
        (folder / how).unlink()


@pytest.mark.parametrize("how", ["flipped byte", "cut state", "state.json", "tensors.safetensors"])
def test_a_damaged_checkpoint_is_refused_with_a_sentence(tmp_path, how):
    with pytest.raises(Killed):
        run(tmp_path, "weighted", killed_at=3)
    damage(tmp_path / "checkpoints" / "checkpoint-2", how)
    with pytest.raises(CheckpointError, match=r"checkpoint-2: .*; delete this folder and start the same command"):
        run(tmp_path, "weighted")
    shutil.rmtree(tmp_path / "checkpoints" / "checkpoint-2")
    assert run(tmp_path, "weighted")[1].round == 6


def test_of_a_damaged_best_checkpoint_the_whole_stage_is_to_be_deleted(tmp_path):
    whole, _ = run(tmp_path / "whole", "weighted")
    with pytest.raises(Killed):
        run(tmp_path / "run", "weighted", killed_at=5)
    damage(tmp_path / "run" / "best", "flipped byte")
    with pytest.raises(CheckpointError, match=rf"best: .*; delete {tmp_path / 'run'} and start the same command"):
        run(tmp_path / "run", "weighted")
    shutil.rmtree(tmp_path / "run")
    again, _ = run(tmp_path / "run", "weighted")
    assert all((again[name] == whole[name]).all() for name in whole)
