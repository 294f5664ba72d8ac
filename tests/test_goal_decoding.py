"""Goal models beside the engine: rows are given up as they would be afterwards, and steered by the states of rows."""

from __future__ import annotations

import pytest
import torch
from reference import contrast as reference
from test_engine import ENDS, PROMPTS, SAMPLED, policy_of
from test_policies import batch_of
from tiny import build

from homestretch.generation.engine import Sample, generate
from homestretch.generation.sampling import SamplingConfig
from homestretch.generation.steering import Steering
from homestretch.generation.watch import Watch
from homestretch.metrics.voting import Filter
from homestretch.policies import prepacked
from homestretch.policies.policy import Policy
from homestretch.rewards.goal import to_goal

OPTIONS = {"eos_ids": ENDS, "sampling": SAMPLED, "seed": 3, "num_samples": 3}


def goal_of(policy: Policy) -> torch.Tensor:
    return torch.randn(policy.trunk.hidden_size, generator=torch.Generator().manual_seed(2))


def values(reader: Policy, prompt: list[int], response: list[int]) -> list[float]:
    with torch.no_grad():
        hidden = reader.score(batch_of([prompt], [response]), want={"hidden"}).hidden_BSD
        return to_goal(hidden[:, 1:], goal_of(reader))[0].tolist()


def watched(every: int, max_rows: int | None, rule: Filter, reader: Policy) -> list[list[Sample]]:
    watch = Watch(reader, goal_of(reader), rule, every=every)
    return generate(policy_of(build("llama")), PROMPTS, watch=watch, max_rows=max_rows, **OPTIONS)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("max_rows", [None, 6])
@pytest.mark.parametrize("every", [1, 3])
def test_rows_are_given_up_where_the_filter_says_so_of_whole_responses(name, max_rows, every):
    reader = policy_of(build(name, seed=4), adapter=True)
    free = [[s.ids for s in group] for group in generate(policy_of(build("llama")), PROMPTS, **OPTIONS)]
    read = [[values(reader, p, ids) for ids in group] for p, group in zip(PROMPTS, free, strict=True)]
    flat = sorted(v for group in read for row in group for v in row[2:])
    rule = Filter(threshold=sum(flat[len(flat) // 3 :][:2]) / 2, patience=2, skip=2)
    made = watched(every, max_rows, rule, reader)
    gone = 0
    for group, ids_of, values_of in zip(made, free, read, strict=True):
        for sample, ids, row in zip(group, ids_of, values_of, strict=True):
            fall = rule.falls_at(row)
            # It is looked at whenever it has `every` more tokens, and what is left when it ends is not judged.
            seen = None if fall is None else -(-(rule.skip + fall + 1) // every) * every
            assert rule.stops_at(row, every=every) == (seen if seen is not None and seen <= len(ids) else None)
            if seen is not None and seen <= len(ids):
                assert sample.given_up and sample.ids == ids[:seen]
                gone += 1
            else:
                assert not sample.given_up and sample.ids == ids
    assert 3 <= gone < 15


def test_a_threshold_below_all_values_changes_nothing():
    reader = policy_of(build("llama", seed=4))
    made = watched(2, None, Filter(threshold=-1.0, skip=0), reader)
    assert made == generate(policy_of(build("llama")), PROMPTS, **OPTIONS)


def steering_of(reader: Policy, *, weight: float, k: int) -> Steering:
    goals = torch.stack([goal_of(reader), -goal_of(reader).roll(1)])
    return Steering(reader, goals, torch.tensor([weight, weight / 2]), k=k)


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_greedy_steering_takes_the_candidate_that_rows_of_their_own_say_is_best(name):
    policy, reader = policy_of(build("llama")), policy_of(build(name, seed=4), adapter=True)
    steering, k = steering_of(reader, weight=3.0, k=4), 4
    greedy = SamplingConfig(temperature=0.0, max_new_tokens=6)
    made = generate(policy, PROMPTS, eos_ids=ENDS, sampling=greedy, steering=steering, max_rows=2)
    plain = generate(policy, PROMPTS, eos_ids=ENDS, sampling=greedy)
    assert [g[0].ids for g in made] != [g[0].ids for g in plain]
    for prompt, (sample,) in zip(PROMPTS, made, strict=True):
        for t, token in enumerate(sample.ids):
            best = by_rows(policy, reader, steering, prompt, sample.ids[:t], k)
            assert max(best, key=lambda candidate: best[candidate]) == token


@pytest.mark.parametrize("packed", [True, False])
def test_a_model_that_also_gives_rows_up_steers_as_it_does_alone(packed, monkeypatch):
    """Merged twice, its weights have the adapter twice; copies of those that were merged once hide that."""
    if not packed:
        monkeypatch.setattr(prepacked, "available", lambda *_: False)
    reader = policy_of(build("llama", seed=4), adapter=True)
    steering = steering_of(reader, weight=8.0, k=5)
    watch = Watch(reader, goal_of(reader), Filter(threshold=-1.0, skip=0), every=2)
    alone = generate(policy_of(build("llama")), PROMPTS, steering=steering, **OPTIONS)
    both = generate(policy_of(build("llama")), PROMPTS, steering=steering, watch=watch, **OPTIONS)
    assert [[s.ids for s in g] for g in both] == [[s.ids for s in g] for g in alone]
    apart = Watch(policy_of(build("llama", seed=6)), watch.goal_D, watch.rule, every=2)
    assert generate(policy_of(build("llama")), PROMPTS, steering=steering, watch=apart, **OPTIONS) == alone


@torch.no_grad()
def by_rows(policy, reader, steering, prompt, before, k) -> dict[int, float]:
    """Eq. 1 of each candidate, every one read in a row of its own."""
    filler = [*before, 3]  # the state before the last token is what the next one is drawn from
    hidden = policy.score(batch_of([prompt], [filler]), want={"hidden"}).hidden_BSD[0, len(before)]
    logp, tokens = policy.logits(hidden[None]).log_softmax(-1)[0].topk(k)
    found = {}
    for value, token in zip(logp.tolist(), tokens.tolist(), strict=True):
        state = reader.score(batch_of([prompt], [[*before, token]]), want={"hidden"}).hidden_BSD[0, -1].tolist()
        nearness = [reference.cosine(state, goal.tolist()) for goal in steering.goals_GD]
        weighed = sum(w * q for w, q in zip(steering.weight_G.tolist(), nearness, strict=True))
        found[token] = value + weighed
    return found


@pytest.mark.parametrize("k", [5, 10_000])
def test_steering_without_weight_samples_from_the_most_probable_tokens(k):
    """All tokens, where there are fewer than k."""
    policy, reader = policy_of(build("llama")), policy_of(build("llama", seed=4))
    made = generate(policy, PROMPTS, steering=steering_of(reader, weight=0.0, k=k), **OPTIONS)
    top = SamplingConfig(max_new_tokens=SAMPLED.max_new_tokens, top_k=k)
    plain = generate(policy, PROMPTS, **(OPTIONS | {"sampling": top}))
    assert [[s.ids for s in g] for g in made] == [[s.ids for s in g] for g in plain]
