"""What several objectives say of pairs: rewards of both sides, their scales, and what a user should know of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
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
from homestretch.rewards.cache import content_key
from homestretch.rewards.named import weighted
from homestretch.training.context import Context
from homestretch.training.named_models import policies_of, start_of, trained_beta
from homestretch.training.precomputed import once
from homestretch.training.reference_logps import reference_logps
from homestretch.training.stages.pairs import Pairs
from homestretch.training.stored_rewards import model_rewards, named_rewards, term_key

SIDES = ("chosen", "rejected")
CONSTANT = 1e-6
"""A deviation below this share of the largest reward is rounding: float32 has seven digits."""
THE_PAIRS = "the order of the pairs"
BOTH_ORDERS = {
    "modpo": "their order cancels, and they teach the other rewards alone",
    "dpo": "their order cancels, and holds them at the reference against the other rewards",
}
"""What pairs in both orders come to. Their two losses together are least where the log-odds of the order are 0: of
`modpo` where beta times the margin of log-probabilities is the weighted difference of the other rewards, of `dpo` where
the margin is that of the reference."""


def known_objectives(context: Context, config: ObjectivesConfig, folder: Path) -> Callable[[Pairs], dict[str, Tensor]]:
    """What `objectives` gives, computed once and kept in `objectives/` of the stage's folder."""
    return lambda pairs: once(folder / "objectives", lambda: objectives(context, config, pairs, folder))


def objectives(context: Context, config: ObjectivesConfig, pairs: Pairs, folder: Path) -> dict[str, Tensor]:
    """The other objectives' rewards of both sides, `reward_chosen_BM` and `reward_rejected_BM`, each (N, M), float32;
    0 for both sides of a pair to which one does not apply.

    Raises DataError for an objective that gives every response the same, InputError for a policy of another model.
    """
    given = [asked_once(context, config, name, pairs, folder) for name in config.rewards]
    reward_NM = torch.stack(given, dim=1) if given else torch.zeros(2 * len(pairs.rows), 0)
    deviation_M = deviations(config.rewards, reward_NM)
    scale_M = torch.ones_like(deviation_M)
    tell_nowhere(kind_of(config), config.rewards, reward_NM)
    # Where only the order of two rewards counts, scales play no part.
    if isinstance(config, MODPOConfig):
        scale_M = scales(config.rewards, deviation_M) if config.standardise else scale_M
        tell_scales(config, deviation_M, scale_M)
    tell_orders(kind_of(config), pairs.examples, config.rewards, reward_NM)
    scaled_NM = (reward_NM / scale_M).float()
    chosen_NM, rejected_NM = scaled_NM.masked_fill(scaled_NM.isnan(), 0.0).chunk(2)
    return {"reward_chosen_BM": chosen_NM, "reward_rejected_BM": rejected_NM}


def asked_once(context: Context, config: ObjectivesConfig, name: str, pairs: Pairs, folder: Path) -> Tensor:
    """What one objective gives to each response (2 N,), better ones first, in its own unit; NaN for both sides of a
    pair to which it does not apply. Other methods of a comparison that ask the same take it over."""
    term, kept = config.rewards[name], folder / f"objective-{name}"
    rows = [getattr(pair, side_name) for side_name in SIDES for pair in pairs.rows]
    if term.policy is not None:
        model = policies_of(config, context.recipe.seed)[name]
        how, texts = (*context.arithmetic(config), config.beta), [(r.prompt_ids, r.completion_ids) for r in rows]
        start = start_of(model) or context.model
        key = content_key(context.model_key(model), context.model_key(start), how, texts)
        make = partial(policy_rewards, context, config, pairs, rows, folder / f"policy-{name}", model)
    else:
        examples = [side(pair, side_name) for side_name in SIDES for pair in pairs.examples]
        # The run's reward model remembers its scores by a key of its own, see `model_rewards`.
        key = "" if name == MODEL else term_key(context, name, term, examples)
        make = partial(stated_rewards, context, name, term, examples, rows)
    return once(kept, lambda: {"reward": make()}, key=key, others=context.others)["reward"]


def stated_rewards(
    context: Context, name: str, term: ObjectiveTerm, examples: list[Example], rows: list[TokenizedExample]
) -> Tensor:
    """What a rule, function, classifier, column or the run's reward model gives to each response (N,), float32.

    Where it does not apply to a response, both of the pair are NaN. Raises DataError for one that is infinite.
    """
    alone = term.model_copy(update={"weight": 1.0})
    if name == MODEL:
        given = model_rewards(context, rows)
    else:
        [named] = context.named_rewards({name: alone})
        given = named_rewards(context, named, examples)
    reward_N = weighted(alone, given).cpu()
    if endless := reward_N.isinf().nonzero().flatten().tolist():
        raise DataError(
            f"{examples[endless[0]].where}: the reward `{name}` of this row is infinite; correct what gives it."
        )
    chosen_N, rejected_N = reward_N.chunk(2)
    nowhere_N = chosen_N.isnan() | rejected_N.isnan()
    return torch.cat([chosen_N.masked_fill(nowhere_N, torch.nan), rejected_N.masked_fill(nowhere_N, torch.nan)])


def policy_rewards(
    context: Context, config: ObjectivesConfig, pairs: Pairs, rows: list[TokenizedExample], folder: Path, model: str
) -> Tensor:
    """beta times the log-ratio of each response (N,) under another policy and under the model that it was trained from,
    nats; where nobody knows that one, under this run's reference.

    Raises InputError where that policy reads other tokens.
    """
    trunk = context.load_trunk(model)
    policy = context.policy(trunk, None, config)
    most = max(max([*row.prompt_ids, *row.completion_ids]) for row in rows)
    if policy.vocabulary <= most or trunk.is_encoder_decoder != bool(context.config.is_encoder_decoder):
        raise InputError(f"The policy `{model}` does not read this model's tokens; name one with the same tokenizer.")
    start, ours = start_of(model), "this run's start"
    if start is None or trained_beta(model) is None:
        say(
            f"{kind_of(config)}: {model} does not say how it was trained; its reward is taken to be {config.beta:g} "
            f"times its log-ratio to {start or ours}."
        )
    logp_N = torch.stack([logp.sum() for logp in reference_logps(context, config, policy, rows, folder, model=model)])
    before_N = torch.cat([pairs.logp_ref_chosen_N, pairs.logp_ref_rejected_N])
    del trunk, policy
    release()
    if start is not None and context.model_key(start) != context.model_key(context.model):
        first = context.policy(context.load_trunk(start), None, config)
        beside = folder.with_name(f"{folder.name}-start")
        logps = reference_logps(context, config, first, rows, beside, model=start)
        before_N = torch.stack([logp.sum() for logp in logps])
        del first
        release()
    return config.beta * (logp_N - before_N)


def deviations(terms: Mapping[str, ObjectiveTerm], reward_NM: Tensor) -> Tensor:
    """Standard deviation of each reward (M,), float64, > 0, over the responses to which it applies.

    Raises DataError for a reward that applies to none, or gives all the same but for rounding.
    """
    found = []
    for name, reward_N in zip(terms, reward_NM.double().unbind(1), strict=True):
        there_N = reward_N[~reward_N.isnan()]
        if not len(there_N):
            raise DataError(f"The objective `{name}` applies to no pair; give it data, or leave it out.")
        found.append(there_N.std(correction=0))
        if found[-1] <= CONSTANT * there_N.abs().max():
            raise DataError(
                f"The objective `{name}` gives {float(there_N[0]):g} to every response: it has nothing to say "
                "about these pairs; give it data, or leave it out."
            )
    return torch.stack(found) if found else torch.zeros(0, dtype=torch.float64)


def scales(terms: Mapping[str, ObjectiveTerm], deviation_M: Tensor) -> Tensor:
    """What each reward is divided by (M,), > 0, where rewards are standardised: its deviation; of a policy, whose
    reward is in the units of the pairs already, 1."""
    own_M = torch.tensor([term.policy is not None for term in terms.values()], dtype=torch.bool)
    return torch.where(own_M, 1.0, deviation_M)


def tell_nowhere(kind: str, terms: Mapping[str, ObjectiveTerm], reward_NM: Tensor) -> None:
    """Say on screen which rewards do not apply to how many pairs."""
    pairs = len(reward_NM) // 2
    for name, count in zip(terms, (reward_NM.isnan().sum(0) // 2).tolist(), strict=True):
        if count:
            say(f"{kind}: `{name}` does not apply to {count:,} of {pairs:,} pairs; it counts 0 there.")


def tell_scales(config: MODPOConfig, deviation_M: Tensor, scale_M: Tensor) -> None:
    """Say on screen what rewards are divided by, and where one is so wide that it decides alone, or so narrow that it
    says nothing.

    They are compared with each other and with the order of the pairs, which in the loss is a log-odds of about one:
    by Bradley and Terry a difference of one in the reward that orders them is right in 73 of 100 pairs, and pairs
    that are never wrong are worth a few. That is rough, and FAR_APART is far beyond it.
    """
    for name, scale in zip(config.rewards, scale_M.tolist(), strict=True):
        if scale != 1:
            say(f"modpo: `{name}` is divided by {scale:.4g}, its standard deviation over the responses.")
    spread = zip(config.rewards, (deviation_M / scale_M).tolist(), strict=True)
    called = {THE_PAIRS: 1.0} | {f"`{name}`": wide for name, wide in spread}
    low, high = min(called, key=called.__getitem__), max(called, key=called.__getitem__)
    if called[high] <= FAR_APART * called[low]:
        return
    policies = [f"`{name}`" for name, term in config.rewards.items() if term.policy is not None]
    # What is divided spreads by 1, as the order does, which comes first.
    undivided = {low, high} - {THE_PAIRS, *policies}
    again = " or ".join(f"the policy of {name}" for name in (low, high) if name in policies)
    remedy = "set modpo.standardise=true" if undivided else f"train {again} again, or leave it out"
    times = called[high] / called[low]
    say(f"modpo: {high} spreads {times:,.0f} times as widely as {low} and decides alone; {remedy}.")


def tell_orders(kind: str, pairs: list[Example], terms: Mapping[str, ObjectiveTerm], reward_NM: Tensor) -> None:
    """Say on screen where rewards and the pairs' order disagree, and how many pairs contradict each other."""
    chosen_NM, rejected_NM = reward_NM.chunk(2)
    for name, against in zip(terms, (chosen_NM < rejected_NM).float().mean(0).tolist(), strict=True):
        say(f"{kind}: `{name}` prefers the worse response of {against:.0%} of the pairs.")
    if count := contradictions(pairs):
        say(f"{kind}: {count:,} pairs stand in the data in both orders; {BOTH_ORDERS[kind]}.")


def contradictions(pairs: list[Example]) -> int:
    """Pairs whose reverse is there too."""
    orders = [(prompt_text(p), *(json.dumps(p.columns[name]) for name in SIDES)) for p in pairs]
    there = set(orders)
    return sum((prompt, worse, better) in there for prompt, better, worse in orders)
