"""Intuitive fine-tuning on tiny models and in whole runs: two passes of any architecture, what learns, exact resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from offline_runs import SMALL, log, recipe, same_after_being_killed
from reference import ift as reference
from test_policies import RESPONSES, batch_of
from tiny import build
from toy import batch_of as toy_batch
from toy import trunk_of

from homestretch.algorithms.base import Models
from homestretch.algorithms.ift import IFT
from homestretch.algorithms.sft import SFT
from homestretch.batch import LossTerms
from homestretch.config.ift import IFTConfig
from homestretch.errors import RecipeError
from homestretch.ops.reduce import aggregate, denominator
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk

NAMES = ["llama", "gpt2", "gemma3", "t5", "bart"]


def policy_of(name: str) -> Policy:
    return Policy(Trunk(build(name)), None, budget=1000)


def value(terms: LossTerms) -> torch.Tensor:
    count = denominator(terms.mask, terms.average)
    return aggregate(terms.terms, terms.mask, average=terms.average, denominator=count)


def gradients(terms: LossTerms, policy: Policy) -> dict[str, torch.Tensor]:
    policy.trunk.zero_grad(set_to_none=True)
    value(terms).backward()
    return {key: p.grad.clone() for key, p in policy.trunk.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NAMES)
def test_without_mixing_and_decay_it_is_maximum_likelihood(name: str) -> None:
    """In loss and gradient, averaged over sequences of their means."""
    policy, batch = policy_of(name), batch_of()
    models, config = Models(policy=policy), IFTConfig(lam=0.0, gamma=0.0, embedding="live")
    mine = IFT(config).loss(models, batch)
    plain = replace(SFT().loss(models, batch), average="sequence")
    torch.testing.assert_close(value(mine), value(plain), atol=1e-5, rtol=1e-5)
    ours, theirs = gradients(mine, policy), gradients(plain, policy)
    assert ours.keys() == theirs.keys()
    for key, gradient in theirs.items():
        torch.testing.assert_close(ours[key], gradient, atol=1e-5, rtol=1e-3)


def fed(policy: Policy, batch, lam: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities on inputs mixed by hand, row by row, and the greedy tokens."""
    lm, seq2seq = policy.trunk.lm, policy.trunk.is_encoder_decoder
    rows, greedy_rows = [], []
    for i, response in enumerate(RESPONSES):
        prompt = batch.prompt_ids_BP[i][batch.prompt_mask_BP[i].bool()]
        answer = torch.tensor(response)
        before = torch.tensor([lm.config.decoder_start_token_id]) if seq2seq else prompt
        own = torch.cat([before, answer])[None]
        extra = {"input_ids": prompt[None]} if seq2seq else {}
        first = {"decoder_input_ids": own} if seq2seq else {"input_ids": own}
        at = len(before) - 1
        greedy = lm(**extra, **first).logits[0, at : at + len(answer)].argmax(-1)
        own_embed = policy.embed(own)[0]
        predicted = policy.embed(torch.cat([before, greedy])[None])[0]
        mixed = torch.stack([torch.tensor(reference.mixed(e.tolist(), z.tolist(), lam))
                             for e, z in zip(own_embed, predicted, strict=True)])[None]  # fmt: skip
        second = {"decoder_inputs_embeds": mixed} if seq2seq else {"inputs_embeds": mixed}
        logits = lm(**extra, **second).logits[0, at : at + len(answer)]
        rows.append(logits.log_softmax(-1).gather(1, answer[:, None])[:, 0].tolist())
        greedy_rows.append((greedy == answer).float().tolist())
    return rows, greedy_rows


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("formula", ["authors", "eq21", "alg1"])
def test_the_loss_is_that_of_inputs_mixed_by_hand(name: str, formula: str) -> None:
    policy, batch = policy_of(name), batch_of()
    with torch.no_grad():
        terms = IFT(IFTConfig(lam=0.4, gamma=0.8, formula=formula)).loss(Models(policy=policy), batch)
        logp, same = fed(policy, batch, 0.4)
    expected = [reference.objective([-x for x in row], 0.8, formula) for row in logp]
    assert float(value(terms)) == pytest.approx(sum(expected) / 3, rel=1e-4)
    accuracy, mask = terms.diagnostics["token_accuracy"]
    assert accuracy[mask.bool()].tolist() == [x for row in same for x in row]


def learned(embedding: str, *, detach: bool = False) -> tuple[set[str], dict[str, torch.Tensor]]:
    policy = policy_of("llama")
    config = IFTConfig(embedding=embedding, detach_weights=detach)
    found = gradients(IFT(config).loss(Models(policy=policy), batch_of()), policy)
    return {key for key, g in found.items() if g.abs().max() > 0}, found


def test_input_embeddings_learn_only_where_they_are_live() -> None:
    frozen, live = learned("frozen")[0], learned("live")[0]
    assert live - frozen == {"model.model.embed_tokens.weight"}
    assert "model.lm_head.weight" in frozen


def test_the_first_pass_has_no_gradient_and_live_weights_have_one() -> None:
    live, constant = learned("frozen")[1], learned("frozen", detach=True)[1]
    assert live.keys() == constant.keys()
    assert not torch.allclose(live["model.lm_head.weight"], constant["model.lm_head.weight"], rtol=1e-2)


def test_the_first_pass_records_nothing_and_without_mixing_there_is_none() -> None:
    policy, wanted = policy_of("llama"), []
    inner = policy.score

    def score(batch, **options):
        wanted.append((*options["want"], torch.is_grad_enabled()))
        return inner(batch, **options)

    policy.score = score
    for lam, passes in ((0.0, [("logp", True)]), (0.1, [("greedy", False), ("logp", True)])):
        wanted.clear()
        IFT(IFTConfig(lam=lam)).loss(Models(policy=policy), batch_of())
        assert wanted == passes


def lams(config: IFTConfig, rounds: int, *, first: int = 0, seed: int = 0) -> list[float]:
    algorithm, made = IFT(config), []
    algorithm.expect(rounds)
    stream = algorithm.stream(Models(policy=policy_of("llama")), ((n, toy_batch(n)) for n in range(first, rounds)))
    for number in range(first, rounds):
        torch.manual_seed(seed + number)
        made.append(next(stream).stats["lam"])
        assert algorithm.lam == made[-1]
    return made


def test_schedules_are_functions_of_the_round() -> None:
    assert lams(IFTConfig(lam=0.3), 3) == [0.3] * 3
    rising = IFTConfig(lam_schedule="linear", lam=0.4, lam_start=0.2, lam_warmup_steps=0.5)
    assert lams(rising, 8) == pytest.approx([0.2, 0.25, 0.3, 0.35, 0.4, 0.4, 0.4, 0.4])
    assert lams(rising, 8, first=5) == lams(rising, 8)[5:]
    steps = rising.model_copy(update={"lam_warmup_steps": 2.0})
    assert lams(steps, 4) == pytest.approx([0.2, 0.3, 0.4, 0.4])
    noisy = IFTConfig(lam_schedule="noisy", lam=0.2)
    drawn = lams(noisy, 40)
    assert lams(noisy, 40, first=30) == drawn[30:] and len(set(drawn)) > 30
    assert abs(sum(drawn) / 40 - 0.2) < 0.05 and all(0 <= x <= 1 for x in drawn)


def test_settings_that_contradict_each_other_are_refused() -> None:
    for settings, says in (
        ({"lora_dropout": 0.1}, "must be 0"),
        ({"lam_start": 0.1}, "belongs to lam_schedule `linear`"),
    ):
        with pytest.raises(RecipeError, match=says):
            IFTConfig.parse(settings, where="here")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "use_peft"), [("llama", True), ("t5", True), ("gpt2", False), ("t5", False)])
def test_killed_and_started_again_gives_the_same_bits(tmp_path: Path, name: str, use_peft: bool) -> None:
    settings = {**SMALL, "use_peft": use_peft, "learning_rate": 1e-3, "lam_schedule": "noisy"}
    run = same_after_being_killed(recipe(tmp_path, name, [{"ift": settings}]), tmp_path, "01-ift")
    rows = [row for row in log(run, "01-ift") if "nll" in row]
    assert len({row["lam"] for row in rows}) == 4
    assert rows[-1]["nll"] < rows[0]["nll"]


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_inputs_change_where_predictions_are_wrong_by_lam_and_nowhere_else(name: str) -> None:
    """Section 6 of the sheet: the second pass differs from the first by the error rate times lam."""
    policy, batch, lam = policy_of(name), batch_of(), 0.3
    with torch.no_grad():
        algorithm = IFT(IFTConfig(lam=lam))
        mixed_BLD, diagnostics = algorithm._inputs(Models(policy=policy), batch)
        ids_BL, mask_BL = policy.inputs(batch)
        own_BLD = policy.embed(ids_BL)
        greedy_BT = policy.score(batch, want={"greedy"}).greedy_BT
        predicted_BLD = policy.embed(policy.inputs(replace(batch, ids_BT=greedy_BT))[0])
    accuracy_BT, mask_BT = diagnostics["token_accuracy"]
    changed_BL = (mixed_BLD != own_BLD).any(-1)
    assert not changed_BL[~mask_BL.bool()].any()
    wrong_N = accuracy_BT[mask_BT.bool()] == 0
    assert torch.equal(changed_BL[mask_BL.bool()], wrong_N) and wrong_N.any()
    torch.testing.assert_close(mixed_BLD - own_BLD, lam * (predicted_BLD - own_BLD))


@pytest.mark.parametrize("name", ["llama", "t5"])
@pytest.mark.parametrize("formula", ["authors", "eq21", "alg1"])
def test_ids_of_padding_enter_nothing(name: str, formula: str) -> None:
    policy, batch = policy_of(name), batch_of()
    other = replace(
        batch,
        prompt_ids_BP=torch.where(batch.prompt_mask_BP.bool(), batch.prompt_ids_BP, 7),
        ids_BT=torch.where(batch.mask_BT.bool(), batch.ids_BT, 9),
    )
    assert not torch.equal(other.ids_BT, batch.ids_BT) and not torch.equal(other.prompt_ids_BP, batch.prompt_ids_BP)
    with torch.no_grad():
        made = [IFT(IFTConfig(formula=formula)).loss(Models(policy=policy), b).terms for b in (batch, other)]
    torch.testing.assert_close(*made)


def test_a_right_prediction_leaves_the_input_as_it_is() -> None:
    """Responses that the model itself would give: the second pass is the first."""
    policy = Policy(trunk_of("llama"), None, budget=1000)
    batch = toy_batch(0)
    with torch.no_grad():
        for _ in range(batch.ids_BT.shape[1]):
            batch = replace(batch, ids_BT=policy.score(batch, want={"greedy"}).greedy_BT)
        plain = policy.score(batch, want={"logp"}).logp_BT
        terms = IFT(IFTConfig(lam=0.7)).loss(Models(policy=policy), batch)
    accuracy, mask = terms.diagnostics["token_accuracy"]
    assert (accuracy[mask.bool()] == 1).all()
    torch.testing.assert_close(terms.diagnostics["nll"][0][mask.bool()], -plain[mask.bool()], atol=1e-6, rtol=1e-5)
