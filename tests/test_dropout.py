"""Dropout is for what learns: no number that is only looked at hangs on it."""

from __future__ import annotations

import torch
from test_policies import batch_of
from tiny import build

from homestretch.config.training import TrainingConfig
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk


def test_there_is_none_where_no_gradients_are_kept() -> None:
    trunk = Trunk(build("llama"))
    trunk.add_adapter("policy", TrainingConfig(lora_dropout=0.5))
    with torch.no_grad():
        for name, parameter in trunk.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    trunk.train()
    policy = Policy(trunk, "policy", budget=1000)

    def logp() -> torch.Tensor:
        return policy.score(batch_of(), want={"logp"}).logp_BT

    with torch.no_grad():
        assert torch.equal(logp(), logp())
    assert not torch.equal(logp(), logp()), "where something learns there is"
    assert all(m.training for m in trunk.modules() if isinstance(m, torch.nn.Dropout)), "and modes are as they were"
