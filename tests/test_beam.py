"""Beam search: that of transformers token for token, a function of each prompt alone, honest log-probabilities."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from peer import continued
from pydantic import ValidationError
from test_admission import MANY, held
from test_engine import NEW, PROMPTS, policy_of, prompts_of
from tiny import BUILDERS, VOCAB, build

from homestretch.generation import beam
from homestretch.generation.beam import BeamConfig, beam_search
from homestretch.generation.engine import generate
from homestretch.generation.rollout import with_responses
from homestretch.generation.sampling import SamplingConfig
from homestretch.policies.causal import CausalDecoding

ENDS = list(range(5, VOCAB, 7))
SETTINGS = [
    {"num_beams": 4},
    {"num_beams": 3, "early_stopping": True},
    {"num_beams": 3, "early_stopping": "never", "length_penalty": 2.0},
    {"num_beams": 2, "early_stopping": "never", "length_penalty": -1.0},
    {"num_beams": 5, "length_penalty": 0.0},
    {"num_beams": 4, "length_penalty": -2.0, "early_stopping": True},
    {"num_beams": 3, "repetition_penalty": 1.6, "length_penalty": 0.6},
]


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("name", BUILDERS)
def test_beams_are_those_of_transformers_token_for_token(name, options):
    lm, count = build(name), options["num_beams"]
    expected = [continued(lm, p, ENDS, NEW, num_return_sequences=count, **options) for p in PROMPTS]
    config = BeamConfig(max_new_tokens=NEW, **options)
    made = beam_search(policy_of(lm), PROMPTS, eos_ids=ENDS, beam=config, num_samples=count, max_rows=3 * count)
    assert [[s.ids for s in group] for group in made] == expected
    assert all(s.terminated == (s.ids[-1] in ENDS) for group in made for s in group)


@pytest.mark.parametrize("name", BUILDERS)
def test_they_are_so_where_few_texts_end(name):
    """With one rare end marker, texts of full length are kept for want of others."""
    lm = build(name)
    expected = [continued(lm, p, [VOCAB - 1], NEW, num_beams=3, num_return_sequences=3) for p in PROMPTS]
    config = BeamConfig(num_beams=3, max_new_tokens=NEW)
    made = beam_search(policy_of(lm), PROMPTS, eos_ids=[VOCAB - 1], beam=config, num_samples=3)
    assert [[s.ids for s in group] for group in made] == expected
    assert not all(s.terminated for group in made for s in group)


@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize(("num_beams", "length_penalty"), [(2, -1.0), (3, -1.0), (4, -0.5), (4, 1.5)])
def test_they_are_so_where_the_model_is_sure(num_beams, length_penalty, early_stopping):
    """A text that goes on may then be better than finished ones, even where length counts against it."""
    lm, ends = build("qwen3"), list(range(4, VOCAB, 4))
    with torch.no_grad():
        lm.get_output_embeddings().weight *= 3
    options = {"num_beams": num_beams, "length_penalty": length_penalty, "early_stopping": early_stopping}
    expected = [continued(lm, p, ends, NEW, num_return_sequences=num_beams, **options) for p in PROMPTS]
    config = BeamConfig(max_new_tokens=NEW, **options)
    made = beam_search(policy_of(lm), PROMPTS, eos_ids=ends, beam=config, num_samples=num_beams)
    assert [[s.ids for s in group] for group in made] == expected


def test_the_settings_above_tell_apart_what_they_set():
    lm = build("llama")
    made = {str(o): [continued(lm, p, ENDS, NEW, **o) for p in PROMPTS] for o in SETTINGS}
    greedy = [continued(lm, p, ENDS, NEW) for p in PROMPTS]
    assert len({str(texts) for texts in made.values()}) >= len(SETTINGS) - 1
    assert greedy not in made.values()


@pytest.mark.parametrize("name", ["llama", "t5", "bart"])
def test_a_prompt_does_not_depend_on_its_neighbours_nor_on_how_many_are_searched_at_a_time(name):
    policy = policy_of(build(name))
    options = {"eos_ids": ENDS, "beam": BeamConfig(num_beams=3, max_new_tokens=NEW), "num_samples": 2}
    whole = [[s.ids for s in group] for group in beam_search(policy, PROMPTS, **options)]
    for bounds in ({"max_rows": 1}, {"max_rows": 7}, {"max_cache_tokens": 100}):
        made = beam_search(policy, PROMPTS, **options, **bounds)
        assert [[s.ids for s in group] for group in made] == whole
    assert [s.ids for s in beam_search(policy, [[33] * 9, PROMPTS[1]], **options)[1]] == whole[1]


@pytest.mark.parametrize("name", BUILDERS)
def test_one_beam_is_greedy(name):
    policy = policy_of(build(name))
    made = beam_search(policy, PROMPTS, eos_ids=ENDS, beam=BeamConfig(num_beams=1, max_new_tokens=NEW))
    greedy = generate(policy, PROMPTS, eos_ids=ENDS, sampling=SamplingConfig(temperature=0.0, max_new_tokens=NEW))
    assert [s.ids for (s,) in made] == [s.ids for (s,) in greedy]


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_log_probabilities_are_those_of_scoring_and_the_best_text_comes_first(name):
    policy, config = policy_of(build(name), adapter=True), BeamConfig(num_beams=4, max_new_tokens=NEW)
    made = beam_search(policy, PROMPTS, eos_ids=ENDS, beam=config, num_samples=4)
    for prompt, group in zip(PROMPTS, made, strict=True):
        batch = with_responses(prompts_of([prompt] * 4), group)
        logp_BT = policy.score(batch, want={"logp"}).logp_BT
        for row, sample in enumerate(group):
            expected = logp_BT[row, : len(sample.ids)]
            torch.testing.assert_close(torch.tensor(sample.logp), expected, atol=1e-4, rtol=0)
        scores = [sum(s.logp) / len(s.ids) for s in group]
        assert scores == sorted(scores, reverse=True)
        assert len({tuple(s.ids) for s in group}) == 4


def test_waiting_prompts_take_the_places_of_those_that_are_done_and_caches_keep_their_bound(monkeypatch):
    widths, tokens, seen = [], [], []
    step = CausalDecoding.step

    def watched(self: CausalDecoding, token_B: torch.Tensor) -> None:
        step(self, token_B)
        widths.append(len(token_B))
        tokens.append(held(self))

    monkeypatch.setattr(CausalDecoding, "step", watched)
    policy, config = policy_of(build("llama")), BeamConfig(num_beams=2, max_new_tokens=NEW, early_stopping=True)
    options = {"eos_ids": ENDS, "beam": config, "on_done": seen.append}
    made = beam_search(policy, MANY, max_rows=8, **options)
    assert max(widths) == 8
    assert any(b < a for a, b in pairwise(widths)), "prompts leave one by one"
    assert any(b > a for a, b in pairwise(widths)), "and others join"
    assert {key: sample for done in seen for key, sample in done.items()} == {(i, 0): s for i, (s,) in enumerate(made)}
    assert max(tokens) > 200
    tokens.clear()
    again = beam_search(policy, MANY, max_rows=8, max_cache_tokens=200, **options)
    assert [s.ids for (s,) in again] == [s.ids for (s,) in made]
    assert 100 < max(tokens) <= 200


def test_more_texts_than_beams_are_refused():
    with pytest.raises(ValueError, match="3 texts cannot come from 2 beams"):
        beam_search(policy_of(build("llama")), PROMPTS, eos_ids=[], beam=BeamConfig(num_beams=2), num_samples=3)
    with pytest.raises(ValidationError):
        BeamConfig(early_stopping="sometimes")
    assert beam.NEVER < -1e6 * NEW
