"""Policies that are tables, and groups of given responses: online methods without a language model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from homestretch.algorithms.base import Models
from homestretch.batch import LossTerms, Scored, SequenceBatch
from homestretch.ops.reduce import aggregate, denominator


@dataclass
class Table:
    """A policy whose next token depends on the place alone: logits (T, V), values (T,)."""

    logits_TV: Tensor
    value_T: Tensor

    def score(self, batch, *, want, candidate_BTK=None, heads_only=False, inputs_embeds=None) -> Scored:
        logp_TV = self.logits_TV.log_softmax(-1)[: batch.ids_BT.shape[1]]
        logp_BTV = logp_TV.expand(len(batch), -1, -1)
        return Scored(
            logp_BT=logp_BTV.gather(-1, batch.ids_BT[..., None]).squeeze(-1),
            entropy_BT=-(logp_BTV.exp() * logp_BTV).sum(-1),
            logp_BTK=None if candidate_BTK is None else logp_BTV.gather(-1, candidate_BTK),
            value_BT=self.value_T[: batch.ids_BT.shape[1]].repeat(len(batch), 1),
        )


def table(width: int = 3, vocabulary: int = 5, *, seed: int = 0) -> Table:
    """Random logits and values, in float64, that can learn."""
    generator = torch.Generator().manual_seed(seed)
    logits_TV = torch.randn(width, vocabulary, generator=generator, dtype=torch.float64)
    return Table(
        logits_TV.requires_grad_(), torch.randn(width, generator=generator, dtype=torch.float64).requires_grad_()
    )


def responses(ids: list[list[int]], *, index: list[int] | None = None) -> SequenceBatch:
    """A batch of these responses; those with the same index belong to one prompt."""
    width = max(map(len, ids))
    one_BP = torch.ones(len(ids), 1, dtype=torch.long)
    return SequenceBatch(
        prompt_ids_BP=one_BP,
        prompt_mask_BP=one_BP,
        ids_BT=torch.tensor([row + [0] * (width - len(row)) for row in ids]),
        mask_BT=torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids]),
        index_B=torch.tensor(index or list(range(len(ids)))),
        terminated_B=torch.tensor([len(row) < width for row in ids]),
    )


def models_of(policy: Table, made: SequenceBatch, reward: list[float], reference: Table | None = None) -> Models:
    """Models that always sample the same responses with the same rewards."""

    def candidates(rollout: SequenceBatch, k: int) -> tuple[Tensor, Tensor, Tensor]:
        token_TK = policy.logits_TV.topk(k).indices[: rollout.ids_BT.shape[1]]
        token_BTK = token_TK.expand(len(rollout), -1, -1).clone()
        missing_BT = ~(token_BTK == rollout.ids_BT[..., None]).any(-1)
        token_BTK[..., -1] = torch.where(missing_BT, rollout.ids_BT, token_BTK[..., -1])
        next_T = torch.cat([policy.value_T[1:], torch.zeros(1, dtype=torch.float64)])[: token_BTK.shape[1]]
        logp_BTK = policy.score(rollout, want=(), candidate_BTK=token_BTK).logp_BTK
        return token_BTK, logp_BTK, next_T[None, :, None].expand_as(token_BTK)

    reward_B = torch.tensor(reward, dtype=torch.float64)
    return Models(
        policy=policy,
        reference=reference or policy,
        sample=lambda prompts, number: made,
        reward=lambda batch: (reward_B, {"scores": reward_B}),
        candidates=candidates,
    )


def value(terms: LossTerms) -> Tensor:
    """The loss that the loop would make of the terms."""
    count = denominator(terms.mask, terms.average)
    return aggregate(terms.terms, terms.mask, average=terms.average, denominator=count)
