"""vLLM as the sampler: its weights are the policy's own, and its samples count by what the policy says of them.

The second half needs vLLM: `make test-vllm` runs it in an environment of its own with vLLM's build for CPUs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from pages import DOCS, blocks
from toy import row, trunk_of

from homestretch.algorithms.rollouts import response_weights, token_weights
from homestretch.batch import SequenceBatch
from homestretch.config.training import TrainingConfig
from homestretch.data.collate import collate
from homestretch.errors import InputError
from homestretch.generation.engine import Sample
from homestretch.generation.rollout import rollout_elsewhere
from homestretch.generation.vllm_engine import VLLMEngine, named_weights
from homestretch.policies.policy import Policy

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: make test-vllm")
MODEL = "builtin/smollm2-135m"
PROMPTS = [[504, 3575, 282, 4649, 314], [7657, 1980, 253, 655], [504, 3575, 282, 4649, 314, 260, 3575]]


def responses() -> SequenceBatch:
    batch = collate([row(0), row(1)])
    return replace(batch, logp_drawn_BT=torch.full(batch.ids_BT.shape, -1.0))


def test_tokens_count_by_their_ratio_up_to_the_cap_and_responses_by_their_product() -> None:
    batch = responses()
    logp_BT = torch.full(batch.ids_BT.shape, -1.0)
    logp_BT[0, :2] = torch.tensor([-1.5, -0.9])
    logp_BT[1, 0] = 3.0
    weight_BT = token_weights(batch, logp_BT, cap=2.0)
    assert weight_BT[0].tolist() == pytest.approx([0.60653, 1.10517, *[1.0] * (weight_BT.shape[1] - 2)], rel=1e-4)
    assert weight_BT[1, 0] == 2.0
    assert response_weights(batch, logp_BT, cap=2.0).tolist() == pytest.approx([0.67032, 2.0], rel=1e-4)


def test_what_the_policy_drew_itself_counts_in_full() -> None:
    batch = replace(responses(), logp_drawn_BT=None)
    logp_BT = torch.randn(batch.ids_BT.shape)
    assert token_weights(batch, logp_BT, cap=2.0).eq(1).all() and response_weights(batch, logp_BT, cap=2.0).eq(1).all()


def test_padding_has_no_ratio() -> None:
    batch = responses()
    batch = replace(batch, mask_BT=batch.mask_BT.clone())
    batch.mask_BT[0, 1:] = 0
    logp_BT = torch.full(batch.ids_BT.shape, -1.0)
    logp_BT[0, 1:] = 9.0
    assert token_weights(batch, logp_BT, cap=2.0)[0].eq(1).all()
    assert response_weights(batch, logp_BT, cap=2.0)[0] == 1


def test_samples_come_back_in_the_rows_of_their_prompts() -> None:
    prompts = collate([row(0), row(0), row(1), row(1)])

    def draw(lists: list[list[int]], k: int) -> list[list[Sample]]:
        assert k == 2 and len(lists) == 2
        return [[Sample([10 * i + j, 2][: 1 + j], [-0.5, -0.25][: 1 + j], j == 1) for j in range(k)] for i in range(2)]

    made = rollout_elsewhere(prompts, draw)
    assert made.ids_BT.tolist() == [[0, 0], [1, 2], [10, 0], [11, 2]]
    assert made.logp_drawn_BT is not None and made.logp_drawn_BT[1].tolist() == [-0.5, -0.25]
    assert made.sampled is None, "the policy has said nothing of them"
    assert made.terminated_B is not None and made.terminated_B.tolist() == [False, True] * 2


def test_weights_have_the_names_that_they_have_without_adapters() -> None:
    plain, adapted = trunk_of(), trunk_of()
    names = [name for name, _ in named_weights(plain.lm)]
    adapted.add_adapter("policy", TrainingConfig(lora_r=2))
    assert [name for name, _ in named_weights(adapted.lm)] == names


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_the_remedy_is_said() -> None:
    with pytest.raises(InputError, match=r"pip install -e '\.\[vllm\]' in the repository"):
        VLLMEngine("model", Policy(trunk_of(), None, budget=64), max_length=64, memory_share=0.3)


@needs_vllm
def test_encoder_decoder_models_are_refused() -> None:
    with pytest.raises(InputError, match="no encoder-decoder models"):
        VLLMEngine("model", Policy(trunk_of("t5"), None, budget=64), max_length=64, memory_share=0.3)


@needs_vllm
@pytest.mark.slow
def test_it_draws_by_the_weights_that_the_policy_has_now() -> None:
    """Log-probabilities of an adapter's policy, of another one, and of changed base weights with a tied head."""
    from homestretch.policies.load import load_trunk, resolve

    torch.manual_seed(0)
    trunk = load_trunk(MODEL)
    trunk.add_adapter("policy", TrainingConfig(lora_r=4))
    policy = Policy(trunk, "policy", budget=512).at(0.8)
    engine = VLLMEngine(resolve(MODEL), policy, max_length=64, memory_share=0.3)

    def furthest(seed: int) -> tuple[float, list[list[int]]]:
        made = engine.draw(policy, PROMPTS, eos_ids=[2], max_new_tokens=12, seed=seed, num_samples=2)
        prompts = collate([replace(row(0), prompt_ids=ids) for ids in PROMPTS for _ in range(2)])
        batch = rollout_elsewhere(prompts, lambda lists, k: made)
        with torch.no_grad():
            logp_BT = policy.score(batch, want={"logp"}).logp_BT
        assert logp_BT is not None and batch.logp_drawn_BT is not None
        apart_BT = (logp_BT - batch.logp_drawn_BT).abs() * batch.mask_BT
        return float(apart_BT.max()), [sample.ids for group in made for sample in group]

    apart, texts = furthest(0)
    assert apart < 1e-3 and furthest(0)[1] == texts, "the same seed gives the same texts"
    assert len({tuple(ids) for ids in texts}) == len(texts), "samples of one prompt differ"
    with torch.no_grad():
        for name, parameter in trunk.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    apart, moved = furthest(0)
    assert apart < 1e-3 and moved != texts
    with torch.no_grad():
        trunk.lm.get_input_embeddings().weight.mul_(1.1)
    assert furthest(0)[0] < 1e-3


@needs_vllm
@pytest.mark.slow
@pytest.mark.parametrize(("method", "more"), [("rloo", ""), ("ppo", ", value_warmup_steps: 0")])
def test_a_run_learns_from_its_samples(tmp_path: Path, method: str, more: str) -> None:
    """In a process of its own, as a user runs it: two rounds, the first of which starts where the reference is."""
    recipe = tmp_path / "recipe.yaml"
    settings = (
        "use_vllm: true, max_steps: 2, rollout_batch_size: 8, num_generations: 4, train_batch_size: 8, "
        "eval_examples: 2, eval_steps: 2, bf16: false, rewards: {overlap: 10}" + more
    )
    recipe.write_text(
        f"model_name_or_path: {MODEL}\ndataset: {{name: builtin/docstrings, max_train: 8, max_validation: 2, "
        f"max_test: 2, max_prompt_length: 192, max_completion_length: 16, truncate: true}}\n"
        f"stages:\n  - {method}: {{{settings}}}\n"
    )
    command = [sys.executable, "-m", "homestretch", "train", str(recipe), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    log = next((tmp_path / "run" / "stages").glob(f"*{method}*")) / "metrics.jsonl"
    rows = [found for line in log.read_text().splitlines() if "reward" in (found := json.loads(line))]
    assert len(rows) == 2 and rows[0]["objective/kl"] == pytest.approx(0, abs=1e-3)
    assert 0 < rows[0]["sampling/logp_difference"] < 1e-3 and rows[1]["sampling/logp_difference"] < 1e-3
    assert abs(rows[1]["objective/kl"]) > 1e-3


@needs_vllm
@pytest.mark.slow
def test_the_block_of_the_tutorial_answers(tmp_path: Path) -> None:
    from homestretch.policies.load import resolve

    (code,) = [b.code for b in blocks(DOCS / "tutorials" / "own-data.md") if b.title == "many.py"]
    (tmp_path / "many.py").write_text(code.replace("runs/tickets/model", resolve(MODEL)), encoding="utf-8")
    done = subprocess.run([sys.executable, "many.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) >= 2
