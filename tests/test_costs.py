"""The cost model of memory: parts worked out by hand, shapes counted on real modules, and a run that is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import build

from homestretch.config.recipe import load_recipe
from homestretch.config.training import TrainingConfig
from homestretch.costs import memory
from homestretch.costs.memory import GPU, Work, needed
from homestretch.costs.shape import Shape, trained
from homestretch.policies.adapters import belongs
from homestretch.policies.shape import shape_of
from homestretch.policies.trunk import Trunk
from homestretch.verbs.doctor import doctor

SHAPE = Shape(
    parameters=1000, layers=4, hidden=8, is_encoder_decoder=False, linear=700, head=300, sides=50, outputs=30,
    key_values=20,
)  # fmt: skip
LORA = Work(rank=3, pass_tokens=100, logits=0)


def parts(**changes: object) -> dict[str, float]:
    return needed(SHAPE, Work(**{**vars(LORA), **changes}))  # type: ignore[arg-type] - names are the caller's


def test_parts_by_hand() -> None:
    found = parts()
    assert (found["weights"], found["adapters"], found["moments"]) == (4000, 4 * 150, 8 * 150)
    assert found["pass"] == pytest.approx(memory.HEAP * 4 * memory.KEPT_LORA * 30 * 100)
    assert found["peak"] == memory.PROCESS + 4000 + 600 + 1200 + found["pass"]
    full = parts(rank=None, models=3)
    assert (full["weights"], full["adapters"], full["moments"], full["gradients"]) == (12_000, 0, 8000, 4000)
    assert full["pass"] == pytest.approx(memory.HEAP * 4 * memory.KEPT_FULL * 30 * 100)


def test_what_changes_the_pass() -> None:
    once = parts()["pass"]
    assert parts(views=2)["pass"] == 2 * once
    assert parts(several=True)["pass"] == once + 600
    assert parts(logits=10)["pass"] == once + 4 * 10 * memory.LOGIT_COPIES
    # a head of 300 weights on states of 8 has 37.5 outputs for each of the 100 tokens
    assert parts(logits=10**6)["pass"] == once + 4 * 3750 * memory.LOGIT_COPIES
    # one state of 8 for each of 4 layers, and a quarter of what a pass keeps
    expected = memory.HEAP * 4 * 100 * (8 * 4 + memory.KEPT_LORA * 30 / 4)
    assert parts(checkpointing=True)["pass"] == pytest.approx(expected)


def test_decoding_copies_weights_and_is_the_peak_where_it_is_the_most() -> None:
    found = parts(rows=5, row_tokens=1000, pass_tokens=1)
    assert found["decoding"] == 4 * (700 + 1000 + 5 * 1000 * 20)
    assert found["peak"] == memory.PROCESS + 4000 + 600 + 1200 + found["decoding"]
    assert parts(rows=0)["decoding"] == 0


def test_sharded_weights_are_whole_where_they_must_be() -> None:
    work = Work(rank=None, pass_tokens=0, logits=0, models=3, shards=10)
    found = needed(SHAPE, work)
    assert (found["weights"], found["moments"], found["gradients"]) == (1200, 800, 400)
    assert found["pass"] == 4 * (300 + 700 / 4), "the vocabulary and a layer"
    lora = needed(SHAPE, Work(rank=3, pass_tokens=0, logits=0, shards=10, rows=5, row_tokens=2), GPU)
    assert (lora["weights"], lora["adapters"], lora["moments"]) == (2 * 100, 600, 1200)
    assert lora["decoding"] == 2 * (1000 + 700 + 5 * 2 * 20), (
        "all weights, a merged copy and the cache, no packed copies"
    )


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
def test_a_shape_counts_what_an_adapter_has(name: str) -> None:
    shape = shape_of(build(name))
    trunk = Trunk(build(name))
    trunk.add_adapter("policy", TrainingConfig(lora_r=3))
    weights = sum(p.numel() for key, p in trunk.named_parameters() if belongs(key, "policy"))
    assert trained(shape, 3) == weights
    assert trained(shape, None) == sum(p.numel() for p in build(name).parameters())


def test_a_shape_by_hand() -> None:
    """Two layers of 32: queries 32, keys and values 16 each, 32; gate and up 64 each, 32."""
    shape = shape_of(build("llama"))
    assert shape.outputs == 2 * (32 + 16 + 16 + 32 + 64 + 64 + 32)
    assert (shape.layers, shape.hidden, shape.key_values) == (2, 32, 2 * 2 * 16)
    assert shape.linear == 2 * 32 * (32 + 16 + 16 + 32 + 3 * 64)
    assert shape.head == 61 * 32
    # GPT-2 stores its weights the other way round: queries, keys and values 96, 32; 128, 32
    assert shape_of(build("gpt2")).outputs == 2 * (96 + 32 + 128 + 32)


OVERRIDES = [
    "dataset.max_train=32", "dataset.max_validation=4", "dataset.max_test=4", "device=cpu",
    "sft.max_steps=2", "sft.eval_steps=2", "sft.eval_examples=1", "sft.train_batch_size=8",
    "sft.micro_batch_tokens=768", "sft.bf16=false",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("extra", [[], ["sft.use_peft=false"]], ids=["lora", "full"])
def test_the_doctor_is_within_15_percent_of_the_measured_peak(tmp_path: Path, extra: list[str]) -> None:
    recipe = load_recipe({"stages": ["sft"]}, [*OVERRIDES, *extra])
    found = doctor(recipe).memory["sft"]
    program = (
        "import sys; from pathlib import Path; from homestretch import load_recipe; "
        "from homestretch.training.pipeline import run_recipe; "
        "run_recipe(load_recipe({'stages': ['sft']}, sys.argv[2:]), Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "run"), *OVERRIDES, *extra]
    subprocess.run(command, check=True, env=os.environ, capture_output=True)
    peak = json.loads((tmp_path / "run/stages/01-sft/stage.json").read_text())["peak_memory_bytes"]
    assert found == pytest.approx(peak, rel=0.15)
