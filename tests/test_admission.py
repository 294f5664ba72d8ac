"""How many rows are decoded at a time: the bound on their caches holds, and is used; the automatic one is that of the
device's memory."""

from __future__ import annotations

import pytest
import torch
from test_engine import ENDS, NEW, PROMPTS, SAMPLED, policy_of
from tiny import build

from homestretch.generation import schedule
from homestretch.generation.engine import generate, pad_left
from homestretch.generation.schedule import Limits, cache_tokens
from homestretch.policies.causal import CausalDecoding
from homestretch.policies.seq2seq import Seq2SeqDecoding

MANY = [[3 + (7 * i + j) % 50 for j in range(1 + (11 * i) % 30)] for i in range(40)]


def held(state: CausalDecoding | Seq2SeqDecoding) -> int:
    """Tokens that all caches of a state hold, padding included, by the shapes of their tensors."""
    caches = [state.cache] if isinstance(state, CausalDecoding) else [
        state.cache.self_attention_cache, state.cache.cross_attention_cache]  # fmt: skip
    return sum(cache.layers[0].keys.shape[0] * cache.layers[0].keys.shape[2] for cache in caches)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens held after every step."""
    sizes: list[int] = []

    def watch(kind: type) -> None:
        step = kind.step
        monkeypatch.setattr(kind, "step", lambda self, token_B: (step(self, token_B), sizes.append(held(self))))

    watch(CausalDecoding)
    watch(Seq2SeqDecoding)
    return sizes


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("bound", [150, 400])
@pytest.mark.parametrize("name", ["llama", "t5", "bart"])
def test_caches_never_hold_more_than_the_bound_and_come_near_it(watched, name, bound, copies):
    policy = policy_of(build(name))
    options = {"eos_ids": ENDS, "sampling": SAMPLED, "num_samples": copies, "seed": 4}
    free = generate(policy, MANY, max_rows=1000, max_cache_tokens=10**9, **options)
    assert max(watched) > 2 * bound, "or the bound bounds nothing"
    watched.clear()
    made = generate(policy, MANY, max_rows=1000, max_cache_tokens=bound, **options)
    assert 0.6 * bound < max(watched) <= bound
    assert [[s.ids for s in group] for group in made] == [[s.ids for s in group] for group in free]


def test_a_prompt_that_is_larger_than_the_bound_goes_alone(watched):
    made = generate(policy_of(build("llama")), PROMPTS, eos_ids=[], sampling=SAMPLED, max_cache_tokens=1, num_samples=2)
    assert all(len(s.ids) == NEW for group in made for s in group)
    assert max(watched) == 2 * (max(len(p) for p in PROMPTS) + NEW - 1)


def test_room_is_that_of_whole_prompts_and_of_one_at_least():
    limits = Limits(rows=10, cache_tokens=100)
    assert [limits.room(longest, 1) for longest in (1, 10, 11, 60, 101)] == [10, 10, 9, 1, 1]
    assert [limits.room(longest, 4) for longest in (1, 12, 13, 30, 101)] == [8, 8, 4, 4, 4]


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("llama", 2 * 2 * 2 * 8 * 4),  # layers, keys and values, heads, their width, bytes
        ("gpt2", 2 * 2 * 4 * 8 * 4),
        ("t5", 2 * 2 * 4 * 8 * 4 + 32 * 4),  # and the encoder's output
    ],
)
def test_the_automatic_bound_is_a_share_of_the_devices_memory(monkeypatch, watched, name, token):
    policy = policy_of(build(name))
    with policy.decoding() as start:
        state = start(*pad_left(PROMPTS[:2]))
        assert state.token_bytes() == token
        monkeypatch.setattr(schedule, "total", lambda device: 4 * token * 200)
        assert cache_tokens(policy, start) == 200
    generate(policy, MANY, eos_ids=ENDS, sampling=SAMPLED, max_rows=1000)
    assert 100 < max(watched) <= 200
    monkeypatch.undo()
    with policy.decoding() as start:
        assert cache_tokens(policy, start) > 10**6, "machines have more memory than that"


def test_prompts_start_longest_first(monkeypatch):
    started = []

    def noted(prompts, device):
        started.extend(map(len, prompts))
        return pad_left(prompts, device)

    monkeypatch.setattr(schedule, "pad_left", noted)
    generate(policy_of(build("llama")), MANY, eos_ids=ENDS, sampling=SAMPLED, max_cache_tokens=200)
    assert started[started[0] == 1 :] == sorted(map(len, MANY), reverse=True)
