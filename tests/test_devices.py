"""Batches go to where the weights are, before a loss or a reward sees them. `meta` stands for a device that is not
here: it has shapes and types, and refuses to be mixed with the CPU as an accelerator does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from toy import batch_of, pairs_of, prompts_of

from homestretch.algorithms.sft import nll_loss
from homestretch.batch import Batch, LossTerms, PairBatch
from homestretch.config.rloo import RLOOConfig
from homestretch.training import online_stage
from homestretch.training.ahead import Ahead
from homestretch.training.gradients import gradients

ELSEWHERE = torch.device("meta")


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
