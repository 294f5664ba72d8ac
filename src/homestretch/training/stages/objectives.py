"""What several objectives say of pairs: rewards of both sides, their scales, and what a user should know of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from homestretch.config.modpo import MODPOConfig
from homestretch.config.objectives import FAR_APART, ObjectivesConfig, ObjectiveTerm
from homestretch.config.rewards import MODEL
from homestretch.config.stages import kind_of
from homestretch.data.records import Example, prompt_text, side
from homestretch.data.tokenize import TokenizedExample
from homestretch.errors import DataError, InputError
from homestretch.policies.memory import release
from homestretch.progress import say
from homestretch.rewards.named import weighted
from homestretch.training.context import Context
from homestretch.training.precomputed import once
from homestretch.training.reference_logps import reference_logps
from homestretch.training.stages.pairs import Pairs
from homestretch.training.stored_rewards import model_rewards, named_rewards

SIDES = ("chosen", "rejected")


def known_objectives(context: Context, config: ObjectivesConfig, folder: Path) -> Callable[[Pairs], dict[str, Tensor]]:
    """What `objectives` gives, computed once and kept in `objectives/` of the stage's folder."""
    return lambda pairs: once(folder / "objectives", lambda: objectives(context, config, pairs, folder))


def objectives(context: Context, config: ObjectivesConfig, pairs: Pairs, folder: Path) -> dict[str, Tensor]:
    """The other objectives' rewards of both sides, `reward_chosen_BM` and `reward_rejected_BM`, each (N, M).

    Raises DataError for an objective that gives every response the same, InputError for a policy of another model.
    """
    examples = [side(pair, name) for name in SIDES for pair in pairs.examples]
    rows = [getattr(pair, name) for name in SIDES for pair in pairs.rows]

    def rewards(name: str, term: ObjectiveTerm) -> Tensor:
        if term.policy is not None:
            policy = term.policy.format(seed=context.recipe.seed)
            return policy_rewards(context, config, pairs, rows, folder / f"policy-{name}", policy)
        given_N = stated_rewards(context, name, term, examples, rows)
        nowhere_N = given_N.isnan()
        if count := int(nowhere_N.sum()) // 2:
            where = f"{count:,} of {len(pairs.rows):,} pairs"
            say(f"{kind_of(config)}: `{name}` does not apply to {where}; it counts 0 there.")
        return given_N.masked_fill(nowhere_N, 0.0)

    given = [rewards(name, term) for name, term in config.rewards.items()]
    reward_NM = torch.stack(given, dim=1) if given else torch.zeros(len(rows), 0)
    # Where only the order of two rewards counts, scales play no part.
    standardise = isinstance(config, MODPOConfig) and config.standardise
    scale_M = scales(config.rewards, reward_NM, standardise=standardise)
    if isinstance(config, MODPOConfig):
        tell_scales(config.rewards, reward_NM, scale_M)
    tell_orders(kind_of(config), pairs.examples, config.rewards, reward_NM)
    chosen_NM, rejected_NM = (reward_NM / scale_M).chunk(2)
    return {"reward_chosen_BM": chosen_NM, "reward_rejected_BM": rejected_NM}


def stated_rewards(
    context: Context, name: str, term: ObjectiveTerm, examples: list[Example], rows: list[TokenizedExample]
) -> Tensor:
    """What a rule, function, classifier, column or the run's reward model gives to each response (N,).

    Where it does not apply to a response, both of the pair are NaN.
    """
    alone = term.model_copy(update={"weight": 1.0})
    if name == MODEL:
        given = model_rewards(context, rows)
    else:
        [named] = context.named_rewards({name: alone})
        given = named_rewards(context, named, examples)
    chosen_N, rejected_N = weighted(alone, given).cpu().chunk(2)
    nowhere_N = chosen_N.isnan() | rejected_N.isnan()
    return torch.cat([chosen_N.masked_fill(nowhere_N, torch.nan), rejected_N.masked_fill(nowhere_N, torch.nan)])


def policy_rewards(
    context: Context, config: ObjectivesConfig, pairs: Pairs, rows: list[TokenizedExample], folder: Path, model: str
) -> Tensor:
    """beta times the log-ratio of each response (N,) under another policy and under the reference, nats.

    Raises InputError where that policy reads other tokens.
    """
    trunk = context.load_trunk(model)
    policy = context.policy(trunk, None, config)
    most = max(max([*row.prompt_ids, *row.completion_ids]) for row in rows)
    if policy.vocabulary <= most or trunk.is_encoder_decoder != bool(context.config.is_encoder_decoder):
        raise InputError(
            f"The policy `{model}` does not read this model's tokens; name one that was trained from the same start."
        )
    logps = reference_logps(context, config, policy, rows, folder, model=model)
    logp_N = torch.stack([logp.sum() for logp in logps])
    del trunk, policy
    release()
    return config.beta * (logp_N - torch.cat([pairs.logp_ref_chosen_N, pairs.logp_ref_rejected_N]))


def scales(terms: Mapping[str, ObjectiveTerm], reward_NM: Tensor, *, standardise: bool) -> Tensor:
    """What each reward is divided by (M,): its standard deviation, or 1. Raises DataError where that is 0."""
    deviation_M = reward_NM.std(0, correction=0)
    for m, name in enumerate(terms):
        if deviation_M[m] == 0:
            raise DataError(
                f"The objective `{name}` gives {float(reward_NM[0, m]):g} to every response: it has nothing to say "
                "about these pairs; give it data, or leave it out."
            )
    own_M = torch.tensor([term.policy is not None for term in terms.values()], dtype=torch.bool)
    return torch.where(own_M, 1.0, deviation_M) if standardise else torch.ones_like(deviation_M)


def tell_scales(terms: Mapping[str, ObjectiveTerm], reward_NM: Tensor, scale_M: Tensor) -> None:
    """Say on screen what rewards are divided by, and where one is so wide that it decides alone."""
    spread_M = (reward_NM / scale_M).std(0, correction=0)
    for name, scale in zip(terms, scale_M.tolist(), strict=True):
        if scale != 1:
            say(f"modpo: `{name}` is divided by {scale:.4g}, its standard deviation over the responses.")
    if len(spread_M) > 1 and spread_M.max() > FAR_APART * spread_M.min():
        low, high = (list(terms)[int(i)] for i in (spread_M.argmin(), spread_M.argmax()))
        times = float(spread_M.max() / spread_M.min())
        say(
            f"modpo: `{high}` spreads {times:,.0f} times as widely as `{low}` and decides alone; "
            "set modpo.standardise=true."
        )


def tell_orders(kind: str, pairs: list[Example], terms: Mapping[str, ObjectiveTerm], reward_NM: Tensor) -> None:
    """Say on screen where rewards and the pairs' order disagree, and how many pairs contradict each other."""
    chosen_NM, rejected_NM = reward_NM.chunk(2)
    for name, against in zip(terms, (chosen_NM < rejected_NM).float().mean(0).tolist(), strict=True):
        say(f"{kind}: `{name}` prefers the worse response of {against:.0%} of the pairs.")
    if count := contradictions(pairs):
        say(f"{kind}: {count:,} pairs stand in the data in both orders; they cancel, and teach the reference alone.")


def contradictions(pairs: list[Example]) -> int:
    """Pairs whose reverse is there too."""
    orders = [(prompt_text(p), *(json.dumps(p.columns[name]) for name in SIDES)) for p in pairs]
    there = set(orders)
    return sum((prompt, worse, better) in there for prompt, better, worse in orders)
