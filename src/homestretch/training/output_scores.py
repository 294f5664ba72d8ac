"""What rewards and probabilities say of outputs that are being evaluated."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from homestretch.batch import SequenceBatch
from homestretch.config.rewards import MODEL, RewardTerm
from homestretch.data.records import Example
from homestretch.policies.policy import Policy
from homestretch.progress import progress
from homestretch.rewards.named import of_samples, weighted
from homestretch.training.context import Context


def output_rewards(
    context: Context, terms: Mapping[str, RewardTerm], examples: list[Example], responses: SequenceBatch
) -> dict[str, list[float | None]]:
    """Each reward of each output in its own unit, by name; None where it does not apply."""
    alone = {name: term.model_copy(update={"weight": 1.0}) for name, term in terms.items()}
    given = of_samples(context.named_rewards(alone), examples, responses, context.tokenizer)
    if MODEL in alone:
        with progress(len(responses), "reward of outputs", "output") as bar:
            given[MODEL] = weighted(alone[MODEL], context.reward_model().score_ids(responses).tolist())
            bar.advance(len(responses))
    return {name: [None if math.isnan(v) else v for v in given[name].tolist()] for name in alone}


def weighted_sum(terms: Mapping[str, RewardTerm], given: Mapping[str, float | None]) -> float | None:
    """The weighted sum of the rewards that apply; None where there is none."""
    there = [terms[name].weight * value for name, value in given.items() if value is not None]
    return sum(there) if there else None


@torch.no_grad()
def divergences(context: Context, policy: Policy, reference: str, responses: SequenceBatch) -> list[float]:
    """ln p(y | x) - ln p_ref(y | x) of each response, nats."""

    def logp_B(scoring: Policy) -> Tensor:
        scored_BT = scoring.score(responses, want={"logp"}).logp_BT
        assert scored_BT is not None
        return torch.where(responses.mask_BT.bool().to(scored_BT.device), scored_BT, 0.0).sum(1)

    with progress(len(responses), "divergence of outputs", "output") as bar:
        found = logp_B(policy) - logp_B(context.policy(context.load_trunk(reference), None))
        bar.advance(len(responses))
    return found.tolist()
