"""Models that cannot be loaded: the sentence says what to do, which depends on where they come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import save

from homestretch.errors import InputError
from homestretch.policies.load import load_lm
from homestretch.results import StageRecord


@pytest.mark.parametrize("by_a_stage", [True, False])
def test_the_remedy_for_a_damaged_model_depends_on_who_made_it(tmp_path: Path, by_a_stage: bool) -> None:
    folder = tmp_path / "stages" / "01-sft"
    save(folder / "model")
    if by_a_stage:
        StageRecord(name="sft", status="done").write(folder / "stage.json")
    weights = folder / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    remedy = f"delete {folder} and start that run again" if by_a_stage else "a folder in Hugging Face format"
    with pytest.raises(InputError, match=remedy):
        load_lm(str(folder / "model"))


def test_a_stage_does_not_answer_for_a_model_that_is_not_there(tmp_path: Path) -> None:
    StageRecord(name="sft", status="done").write(tmp_path / "stage.json")
    with pytest.raises(InputError, match="there is no such folder: check the name"):
        load_lm(str(tmp_path / "modell"))
