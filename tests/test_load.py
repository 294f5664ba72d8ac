"""Models that cannot be loaded: the sentence says what to do, which depends on where they come from."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [("num_hidden_layers", 4, "model.layers.2.input_layernorm.weight"), ("intermediate_size", 80, "mlp.down_proj")],
)
def test_weights_that_would_be_random_are_refused(tmp_path: Path, setting: str, value: int, named: str) -> None:
    save(tmp_path, "llama")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config[setting] != value
    (tmp_path / "config.json").write_text(json.dumps(config | {setting: value}))
    with pytest.raises(InputError, match=f"has no .*{named}.* and would start with random weights there"):
        load_lm(str(tmp_path))
