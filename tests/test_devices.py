"""Batches go to where the weights are, before a loss or a reward sees them. `meta` stands for a device that is not
here: it has shapes and types, and refuses to be mixed with the CPU as an accelerator does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from toy import accelerator, batch_of, pairs_of, plan, prompts_of, trunk_of

from homestretch.algorithms.base import Models
from homestretch.algorithms.sft import SFT, nll_loss
from homestretch.batch import Batch, LossTerms, PairBatch
from homestretch.config.rloo import RLOOConfig
from homestretch.config.training import TrainingConfig
from homestretch.policies.load import choose_device
from homestretch.policies.policy import Policy
from homestretch.training import checkpoint, online_stage
from homestretch.training.ahead import Ahead
from homestretch.training.gradients import gradients
from homestretch.training.loop import fit

ELSEWHERE = torch.device("meta")


@pytest.mark.parametrize("cuda", [True, False])
def test_mps_must_be_asked_for(monkeypatch: pytest.MonkeyPatch, cuda: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device().type == ("cuda" if cuda else "cpu")
    assert choose_device("mps").type == "mps"


def test_one_process_compares_its_weights_with_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(_: torch.Tensor) -> torch.Tensor:
        raise TypeError("MPS has no float64")

    trunk = trunk_of()
    made = plan(tmp_path, trunk, TrainingConfig(metric_for_best_model="none"), rounds=1, batch_of=batch_of)
    monkeypatch.setattr(torch.Tensor, "double", unknown)
    fit(SFT(), Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
    assert checkpoint.latest(tmp_path / "checkpoints") is not None


class Seen(Exception):
    """The loss has been asked for."""


def test_devices_are_not_mixed_silently() -> None:
    logp_BT = torch.zeros(2, 3, device=ELSEWHERE)
    with pytest.raises(RuntimeError, match="device"):
        nll_loss(logp_BT, torch.ones(2, 3, dtype=torch.long)) + torch.zeros(2, 3)


@pytest.mark.parametrize("batch", [batch_of(0), pairs_of(0)], ids=["sequences", "pairs"])
def test_a_loss_gets_its_rows_where_the_parameters_are(batch: Batch) -> None:
    def terms_of(part: Any) -> LossTerms:
        sides = (part.chosen, part.rejected) if isinstance(part, PairBatch) else (part,)
        assert all(t.device == ELSEWHERE for side in sides for t in side.flat().values())
        raise Seen

    parameter = torch.nn.Parameter(torch.zeros(1, device=ELSEWHERE))
    with pytest.raises(Seen):
        gradients(batch, terms_of, {"w": parameter}, budget=1000, seed=0)


def test_samples_come_where_the_policy_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online_stage, "rollout", lambda policy, prompts, **_: prompts)
    monkeypatch.setattr(online_stage, "end_ids", lambda *_: [1])
    recipe = SimpleNamespace(seed=0, dataset=SimpleNamespace(max_completion_length=4))
    policy: Any = SimpleNamespace(device=ELSEWHERE, trunk=SimpleNamespace(lm=None, heads={}))
    context: Any = SimpleNamespace(recipe=recipe, tokenizer=None)
    drawn = online_stage.sampler(context, policy, RLOOConfig(), None, Ahead([], context.tokenizer, ELSEWHERE))(
        prompts_of(0), 0
    )
    assert all(tensor.device == ELSEWHERE for tensor in drawn.flat().values())
