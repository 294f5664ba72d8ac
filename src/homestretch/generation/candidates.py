"""The look-ahead's candidates: likely next tokens of each step and the values of the states they lead to."""

from __future__ import annotations

import torch
from torch import Tensor

from homestretch import ranks
from homestretch.batch import SequenceBatch
from homestretch.collectives import gathered
from homestretch.policies.causal import CausalDecoding
from homestretch.policies.packed import packs
from homestretch.policies.policy import Policy
from homestretch.policies.seq2seq import Seq2SeqDecoding

ROWS = 16


@torch.no_grad()
def candidates(policy: Policy, rollout: SequenceBatch, k: int, *, rows: int = ROWS) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, log-probabilities under the policy, and next-state values, each (B, T, K).

    The candidates of a step are its k most probable tokens, with the sampled one in place of the least probable if
    it is not among them. A model that takes any mask reads each response once and then all its candidates; others
    walk along it on a cache that holds every row k times. `rows` responses at a time bound the memory. Responses are
    dealt out to all processes, each of which gets the whole result.
    """
    mine = rollout.shares(ranks.count())[ranks.rank()]
    parts = []
    with policy.decoding() as start:
        for at in range(0, len(mine), rows):
            index = torch.tensor(mine[at : at + rows])
            state = start(rollout.prompt_ids_BP[index], rollout.prompt_mask_BP[index])
            ids_bT, mask_bT = rollout.ids_BT[index], rollout.mask_BT[index]
            if isinstance(state, CausalDecoding) and packs(policy.trunk.lm):
                made = _read(policy, state, ids_bT, mask_bT, k)
            else:
                made = _walk(policy, state, ids_bT, k)
            parts.append((index, *(tensor.cpu() for tensor in made)))
    everything = [part for process in gathered(parts) for part in process]
    index, token, logp, value = map(torch.cat, zip(*everything, strict=True))
    order = index.argsort()
    assert token.shape[1] == rollout.ids_BT.shape[1]
    return token[order].to(policy.device), logp[order].to(policy.device), value[order].to(policy.device)


def _read(
    policy: Policy, state: CausalDecoding, ids_bT: Tensor, mask_bT: Tensor, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    # Few passes over many tokens are products, not steps: mixed precision pays, as where responses are scored.
    with policy.autocast():
        read_bTD = state.read(ids_bT, mask_bT)
    before_bTD = torch.cat([state.hidden_BD[:, None], read_bTD[:, :-1].to(state.hidden_BD.dtype)], dim=1)
    steps = [_likely(policy, *at, k) for at in zip(before_bTD.unbind(1), ids_bT.unbind(1), strict=True)]
    token_bTK, logp_bTK = (torch.stack(column, dim=1) for column in zip(*steps, strict=True))
    with policy.autocast():
        branch_bTKD = state.branch(token_bTK)
    return token_bTK, logp_bTK, policy.trunk.heads["value"](branch_bTKD.to(before_bTD.dtype))


def _walk(
    policy: Policy, state: CausalDecoding | Seq2SeqDecoding, ids_bT: Tensor, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    state.repeat(k)
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    for sampled_b in ids_bT.unbind(1):
        token_bK, logp_bK = _likely(policy, state.hidden_BD[::k], sampled_b, k)
        state.step(token_bK.flatten())
        columns.append((token_bK, logp_bK, policy.trunk.heads["value"](state.hidden_BD).view(-1, k)))
        state.forget_last()
        state.step(sampled_b.repeat_interleave(k))
    token, logp, value = (torch.stack(column, dim=1) for column in zip(*columns, strict=True))
    return token, logp, value


def _likely(policy: Policy, hidden_bD: Tensor, sampled_b: Tensor, k: int) -> tuple[Tensor, Tensor]:
    logp_bV = policy.logits(hidden_bD).log_softmax(-1)
    token_bK = _with_sampled(logp_bV.topk(k, dim=-1).indices, sampled_b)
    return token_bK, logp_bV.gather(1, token_bK)


def _with_sampled(token_bK: Tensor, sampled_b: Tensor) -> Tensor:
    missing_b = ~(token_bK == sampled_b[:, None]).any(1)
    token_bK = token_bK.clone()
    token_bK[missing_b, -1] = sampled_b[missing_b]
    return token_bK
