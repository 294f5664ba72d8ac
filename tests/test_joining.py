"""Rows that join others under way, and columns that leave: states as if each row were alone."""

from __future__ import annotations

import pytest
import torch
from test_engine import ENDS, PROMPTS, SAMPLED, policy_of, widths_by_hand
from tiny import BUILDERS, VOCAB, build

from homestretch.generation.engine import generate, pad_left
from homestretch.policies.causal import CausalDecoding
from homestretch.policies.seq2seq import Seq2SeqDecoding

JOINS = {"llama": True, "gpt2": True, "qwen3": True, "gemma3": True, "t5": True, "bart": False}
TOKENS = [33, 4, 50, 12, 9, 28, 41, 17]


def started(lm, *prompts: list[int]) -> CausalDecoding | Seq2SeqDecoding:
    kind = Seq2SeqDecoding if lm.config.is_encoder_decoder else CausalDecoding
    return kind(lm, *pad_left(prompts))


@pytest.mark.parametrize("name", BUILDERS)
def test_decoders_that_count_from_the_start_of_their_cache_do_not_join(name):
    assert started(build(name), [5, 6]).joins == JOINS[name]


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in BUILDERS if JOINS[name]])
def test_rows_that_joined_have_the_states_that_they_have_alone(name):
    """Rows 0 and 1 start first; 2 and 3 join after three steps; 0 leaves, then 1; 4 joins after the sixth."""
    lm = build(name)
    prompts = [PROMPTS[1], PROMPTS[2], PROMPTS[3], PROMPTS[0] * 5, PROMPTS[4]]
    starts, live = {0: [0, 1], 3: [2, 3], 6: [4]}, []
    rows = None
    alone = {}
    for t in range(9):
        for new in [starts[t]] if t in starts else []:
            state = started(lm, *(prompts[i] for i in new))
            if rows is None:
                rows = state
            else:
                rows.join(state)
            alone |= {i: started(lm, prompts[i]) for i in new}
            live += new
        if t in (4, 6):
            gone = live.index(0 if t == 4 else 1)
            rows.keep(torch.tensor([i for i in range(len(live)) if i != gone]))
            live.pop(gone)
        for row, i in enumerate(live):
            torch.testing.assert_close(rows.hidden_BD[row], alone[i].hidden_BD[0], atol=1e-4, rtol=1e-4)
        tokens = [TOKENS[(t + i) % len(TOKENS)] for i in live]
        rows.step(torch.tensor(tokens))
        for i, token in zip(live, tokens, strict=True):
            alone[i].step(torch.tensor([token]))
    assert live == [2, 3, 4]


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_columns_that_no_row_uses_any_more_are_dropped(name):
    lm = build(name)
    rows = started(lm, PROMPTS[1], PROMPTS[0])
    rows.step(torch.tensor([7, 8]))
    rows.join(started(lm, PROMPTS[2], PROMPTS[3]))
    rows.keep(torch.tensor([3, 2]))
    longest = len(PROMPTS[3])
    if name == "t5":
        assert rows.prompt_mask_BP.tolist() == [[1] * 5, [1] + [0] * 4]
        assert rows.mask_BL.tolist() == [[1], [1]]
        assert rows.cache.cross_attention_cache.layers[0].keys.shape[-2] == longest
        assert rows.cache.self_attention_cache.layers[0].keys.shape[-2] == 1
    else:
        assert rows.mask_BL.tolist() == [[1] * 5, [0] * 4 + [1]]
        assert rows.cache.layers[0].keys.shape[-2] == longest


@pytest.mark.parametrize("copies", [1, 2])
def test_waiting_rows_of_an_encoder_decoder_take_the_places_of_finished_ones(monkeypatch, copies):
    widths = []
    step = Seq2SeqDecoding.step
    policy = policy_of(build("t5"))
    assert started(policy.trunk.lm, [5]).joins  # tried before steps are counted
    monkeypatch.setattr(
        Seq2SeqDecoding, "step", lambda self, token_B: (widths.append(len(token_B)), step(self, token_B))
    )
    prompts = PROMPTS * 6
    made = generate(
        policy, prompts, eos_ids=range(3, VOCAB, 6), sampling=SAMPLED, max_rows=6, num_samples=copies, seed=2
    )
    longest_first = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    assert widths == widths_by_hand([[len(s.ids) for s in made[i]] for i in longest_first], limit=6)


def test_rows_of_a_decoder_that_cannot_join_wait_for_the_others(monkeypatch):
    joined, policy = [], policy_of(build("bart"))
    assert not started(policy.trunk.lm, [5]).joins  # tried before joins are counted
    monkeypatch.setattr(Seq2SeqDecoding, "join", lambda self, other: joined.append(other))
    made = generate(policy, PROMPTS * 3, eos_ids=ENDS, sampling=SAMPLED, max_rows=4)
    assert len(made) == 15 and joined == []
