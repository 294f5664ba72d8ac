"""Reward models: the losses on a trunk, saving and loading to the bit, texts scored as their ids are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import tiny
import tiny_tokenizers
import torch
from reference import preference as reference
from test_policies import PROMPTS, RESPONSES, batch_of

from homestretch.algorithms.base import Models
from homestretch.algorithms.reward_model import RewardModelling
from homestretch.batch import PairBatch
from homestretch.config.rewards import RewardTerm
from homestretch.config.training import TrainingConfig
from homestretch.data.collate import collate_texts
from homestretch.errors import InputError
from homestretch.ops.reduce import aggregate, denominator
from homestretch.policies.load import load_trunk
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk
from homestretch.rewards.model import DESCRIPTION, HEAD, RewardModel, load_reward, read_description, save_reward
from homestretch.rewards.named import load_rewards

WORSE = [[30, 31], [32, 33, 34, 35, 1], [36]]
TEXTS = (["one two", "x"], ["three.", "four five"])


def changed(trunk: Trunk) -> Trunk:
    """The trunk with its adapters no longer the identity."""
    with torch.no_grad():
        for name, parameter in trunk.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return trunk


def made(folder: Path, name: str, *, lora: bool, tokenizer=None) -> tuple[RewardModel, Path]:
    """A reward model in memory, and the folder that it was saved to."""
    base = tiny.save(folder / "base", name, std=0.3)
    trunk = load_trunk(base)
    if lora:
        trunk.add_adapter("reward", TrainingConfig(lora_r=4))
    trunk.add_head("reward", zero=False)
    tokenizer = tokenizer or tiny.tokenizer()
    save_reward(changed(trunk), tokenizer, folder / "reward", base=base, kind="classifier")
    return RewardModel(Policy(trunk, "reward" if lora else None, budget=1000), tokenizer), folder / "reward"


@pytest.mark.parametrize("kind", ["classifier", "pairwise"])
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_loss_is_that_of_the_definition_and_reaches_trunk_and_head(kind: Literal["classifier", "pairwise"], name):
    trunk = Trunk(tiny.build(name))
    trunk.add_head("reward", zero=False)
    policy = Policy(trunk, None, budget=1000)
    margins = [0.0, 1.5, -0.5]
    pairs = PairBatch(chosen=batch_of(), rejected=batch_of(PROMPTS, WORSE), margin_B=torch.tensor(margins))
    terms = RewardModelling(kind).loss(Models(policy=policy), pairs)
    loss = aggregate(terms.terms, terms.mask, average=terms.average, denominator=denominator(terms.mask, terms.average))

    def alone(prompt: list[int], response: list[int]) -> float:
        with torch.no_grad():
            return float(policy.score(batch_of([prompt], [response]), want={"reward"}).reward_B)

    plus = [alone(p, r) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    minus = [alone(p, r) for p, r in zip(PROMPTS, WORSE, strict=True)]
    sides = zip(plus, minus, margins, strict=True)
    each = [
        reference.bce(p, [m]) if kind == "classifier" else reference.pairwise(p, [m], wanted) for p, m, wanted in sides
    ]
    expected = sum(each) / 3
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-4)
    accuracy, margin = (terms.diagnostics[key][0].tolist() for key in ("accuracy", "margin"))
    assert accuracy == [float(p > m) for p, m in zip(plus, minus, strict=True)]
    assert margin == pytest.approx([p - m for p, m in zip(plus, minus, strict=True)], abs=1e-4)
    loss.backward()
    assert trunk.heads["reward"].linear.weight.grad.abs().max() > 0
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in trunk.lm.parameters())


def test_another_runs_reward_model_is_a_term_by_its_folder(tmp_path: Path) -> None:
    ours, folder = made(tmp_path, "llama", lora=True)
    [named] = load_rewards({"strong": RewardTerm(reward_model=str(folder), weight=-2.0)})
    assert isinstance(named.reward, RewardModel)
    named.reward.policy = Policy(named.reward.policy.trunk, "reward", budget=1000)  # the product's precision
    ended = [True, False]
    expected = [-2.0 * logit for logit in ours(*TEXTS, terminated=ended)]
    assert named(*TEXTS, terminated=ended, references=[[], []]) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(InputError, match="is not a reward model"):
        load_rewards({"strong": RewardTerm(reward_model=str(tmp_path / "base"))})


def test_a_head_that_says_zero_has_the_loss_of_ignorance():
    trunk = Trunk(tiny.build("llama"))
    trunk.add_head("reward", zero=True)
    pairs = PairBatch(chosen=batch_of(), rejected=batch_of(PROMPTS, WORSE))
    models = Models(policy=Policy(trunk, None, budget=1000))
    assert RewardModelling("classifier").loss(models, pairs).terms.tolist() == pytest.approx([2 * 0.69314718] * 3)
    assert RewardModelling("pairwise").loss(models, pairs).terms.tolist() == pytest.approx([0.69314718] * 3)


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_saved_and_loaded_it_gives_the_same_bits(tmp_path, name, lora):
    ours, folder = made(tmp_path, name, lora=lora)
    loaded = load_reward(folder, bf16=False)
    assert torch.equal(loaded.score_ids(batch_of()), ours.score_ids(batch_of()))
    assert loaded(*TEXTS) == ours(*TEXTS)
    assert load_reward(str(folder), bf16=False, budget=5)(*TEXTS) == pytest.approx(ours(*TEXTS), abs=1e-4)


@pytest.mark.parametrize("place", ["run/stages/01-sft", "elsewhere"], ids=["of the same run", "of another"])
def test_the_base_is_found_from_anywhere_and_moves_with_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    base = tiny.save(Path(place) / "model", "llama", std=0.3)
    assert not Path(base).is_absolute()
    trunk = load_trunk(base)
    trunk.add_adapter("reward", TrainingConfig(lora_r=4))
    trunk.add_head("reward", zero=False)
    folder = Path("run/stages/02-reward/model")
    save_reward(changed(trunk), tiny.tokenizer(), folder, base=base, kind="classifier")
    expected = load_reward(folder, bf16=False)(*TEXTS)
    (tmp_path / "run").rename(tmp_path / "moved")
    monkeypatch.chdir("/")
    found = tmp_path / "moved" / Path(*folder.parts[1:])
    assert load_reward(found, bf16=False)(*TEXTS) == expected
    assert Path(read_description(found)["base"]).is_relative_to(tmp_path / ("moved" if place != "elsewhere" else place))


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_on_a_shared_trunk_it_leaves_the_other_views_alone(tmp_path, name):
    ours, folder = made(tmp_path, name, lora=True)
    shared = load_trunk(str(tmp_path / "base"))
    reference_view = Policy(shared, None, budget=1000)
    with torch.no_grad():
        before = reference_view.score(batch_of(), want={"logp"}).logp_BT
        loaded = load_reward(folder, bf16=False, trunk=shared)
        assert loaded.policy.trunk is shared
        assert torch.equal(reference_view.score(batch_of(), want={"logp"}).logp_BT, before)
        shared.add_adapter("policy", TrainingConfig(lora_r=2))
        assert torch.equal(reference_view.score(batch_of(), want={"logp"}).logp_BT, before)
        policy = Policy(shared, "policy", budget=1000)
        assert torch.equal(loaded.score_ids(batch_of()), ours.score_ids(batch_of()))
        assert torch.equal(policy.score(batch_of(), want={"logp"}).logp_BT, before)
    assert torch.equal(loaded.score_ids(batch_of()), ours.score_ids(batch_of()))


def test_an_adapter_joins_a_trunk_that_has_one(tmp_path):
    ours, folder = made(tmp_path, "llama", lora=True)
    shared = load_trunk(str(tmp_path / "base"))
    shared.add_adapter("policy", TrainingConfig(lora_r=2))
    assert torch.equal(load_reward(folder, bf16=False, trunk=shared).score_ids(batch_of()), ours.score_ids(batch_of()))


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [(HEAD, "a reward model without its head scores at random"), (DESCRIPTION, "not a reward model")],
)
def test_a_folder_that_is_not_whole_is_refused(tmp_path, missing, sentence):
    _, folder = made(tmp_path, "llama", lora=True)
    (folder / missing).unlink()
    with pytest.raises(InputError, match=sentence) as caught:
        load_reward(folder, bf16=False)
    assert str(folder) in str(caught.value) and missing in str(caught.value)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_texts_are_scored_as_their_ids_and_the_end_marker_counts(tmp_path, name):
    ours, _ = made(tmp_path, name, lora=True)
    ended = [True, False]
    ids = collate_texts(ours.tokenizer, *TEXTS, terminated=ended, is_encoder_decoder=name == "t5")
    assert ids.terminated_B.tolist() == ended
    assert ours(*TEXTS, terminated=ended) == ours.score_ids(ids).tolist()
    whole = ours(*TEXTS)
    assert whole[0] == pytest.approx(ours(*TEXTS, terminated=ended)[0], abs=1e-5)
    assert abs(whole[1] - ours(*TEXTS, terminated=ended)[1]) > 1e-3
    assert ours(*TEXTS, extra_column=[1, 2]) == whole


def test_text_of_a_policy_with_another_tokenizer_is_read_with_its_own(tmp_path):
    other = tiny_tokenizers.tokenizer()
    ours, folder = made(tmp_path, "llama", lora=True)
    text = other.decode(other("three.", add_special_tokens=False)["input_ids"])
    theirs, own = (t("three.", add_special_tokens=False)["input_ids"] for t in (other, ours.tokenizer))
    assert theirs != own and text == "three."
    prompt = ours.tokenizer("x")["input_ids"]
    expected = ours.score_ids(batch_of([prompt], [[*own, ours.tokenizer.eos_token_id]]))
    assert load_reward(folder, bf16=False)(["x"], [text]) == pytest.approx(expected.tolist(), abs=1e-5)
