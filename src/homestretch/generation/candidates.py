"""The look-ahead's candidates: likely next tokens of each step and the values of the states they lead to."""

from __future__ import annotations

import torch
from torch import Tensor

from homestretch import ranks
from homestretch.batch import SequenceBatch
from homestretch.collectives import gathered
from homestretch.policies.policy import Policy, StartDecoding

ROWS = 16


@torch.no_grad()
def candidates(policy: Policy, rollout: SequenceBatch, k: int, *, rows: int = ROWS) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, log-probabilities under the policy, and next-state values, each (B, T, K).

    The candidates of a step are its k most probable tokens, with the sampled one in place of the least probable if
    it is not among them. The responses are walked once on a cache that holds every row k times; `rows` responses at
    a time bound the memory. Responses are dealt out to all processes, each of which gets the whole result.
    """
    mine = rollout.shares(ranks.count())[ranks.rank()]
    parts = []
    with policy.decoding() as start:
        for at in range(0, len(mine), rows):
            index = torch.tensor(mine[at : at + rows])
            parts.append((index, *(made.cpu() for made in _walk(policy, start, rollout, index, k))))
    everything = [part for process in gathered(parts) for part in process]
    index, token, logp, value = map(torch.cat, zip(*everything, strict=True))
    order = index.argsort()
    assert token.shape[1] == rollout.ids_BT.shape[1]
    return token[order].to(policy.device), logp[order].to(policy.device), value[order].to(policy.device)


def _walk(
    policy: Policy, start: StartDecoding, rollout: SequenceBatch, index: Tensor, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    ids_bT = rollout.ids_BT[index]
    state = start(rollout.prompt_ids_BP[index], rollout.prompt_mask_BP[index])
    state.repeat(k)
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    for t in range(ids_bT.shape[1]):
        logp_bV = policy.logits(state.hidden_BD[::k]).log_softmax(-1)
        token_bK = _with_sampled(logp_bV.topk(k, dim=-1).indices, ids_bT[:, t])
        state.step(token_bK.flatten())
        value_bK = policy.trunk.heads["value"](state.hidden_BD).view(-1, k)
        columns.append((token_bK, logp_bV.gather(1, token_bK), value_bK))
        state.forget_last()
        state.step(ids_bT[:, t].repeat_interleave(k))
    token, logp, value = (torch.stack(column, dim=1) for column in zip(*columns, strict=True))
    return token, logp, value


def _with_sampled(token_bK: Tensor, sampled_b: Tensor) -> Tensor:
    missing_b = ~(token_bK == sampled_b[:, None]).any(1)
    token_bK = token_bK.clone()
    token_bK[missing_b, -1] = sampled_b[missing_b]
    return token_bK
