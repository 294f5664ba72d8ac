"""The repetition penalty: transformers' definition, a function of each row alone."""

from __future__ import annotations

import pytest
import torch
from peer import continued
from test_engine import ENDS, NEW, PROMPTS, policy_of
from tiny import BUILDERS, VOCAB, build
from transformers import RepetitionPenaltyLogitsProcessor

from homestretch.generation.engine import generate
from homestretch.generation.sampling import SamplingConfig, penalised


def test_scores_of_seen_tokens_are_made_worse_whatever_their_sign():
    scores = torch.tensor([[2.0, -2.0, 3.0, -3.0], [2.0, -2.0, 3.0, -3.0]])
    seen = torch.tensor([[True, True, False, False], [False, False, False, True]])
    assert penalised(scores, seen, 2.0).tolist() == [[1.0, -4.0, 3.0, -3.0], [2.0, -2.0, 3.0, -6.0]]
    assert penalised(scores, seen, 0.5).tolist() == [[4.0, -1.0, 3.0, -3.0], [2.0, -2.0, 3.0, -1.5]]


@pytest.mark.parametrize("penalty", [1.3, 2.5])
@pytest.mark.parametrize("name", BUILDERS)
def test_greedy_with_a_penalty_is_that_of_transformers_token_for_token(name, penalty):
    lm = build(name)
    free = [continued(lm, prompt, [VOCAB - 1], NEW, repetition_penalty=penalty)[0] for prompt in PROMPTS]
    ends = [free[0][2], free[1][5]]
    expected = [continued(lm, prompt, ends, NEW, repetition_penalty=penalty)[0] for prompt in PROMPTS]
    greedy = SamplingConfig(temperature=0.0, max_new_tokens=NEW, repetition_penalty=penalty)
    made = generate(policy_of(lm), PROMPTS, eos_ids=ends, sampling=greedy, max_rows=3)
    assert [group[0].ids for group in made] == expected
    without = greedy.model_copy(update={"repetition_penalty": 1.0})
    plain = generate(policy_of(lm), PROMPTS, eos_ids=ends, sampling=without)
    assert [group[0].ids for group in plain] != expected, "or the penalty shows nothing"


@pytest.mark.parametrize("name", ["llama", "t5", "bart"])
def test_a_penalised_row_does_not_depend_on_its_neighbours(name):
    policy = policy_of(build(name))
    sampling = SamplingConfig(max_new_tokens=NEW, repetition_penalty=1.5)
    options = {"eos_ids": ENDS, "sampling": sampling, "seed": 3, "num_samples": 3}
    whole = [[s.ids for s in group] for group in generate(policy, PROMPTS, **options)]
    for max_rows in (1, 6):
        made = generate(policy, PROMPTS, max_rows=max_rows, **options)
        assert [[s.ids for s in group] for group in made] == whole


@torch.no_grad()
def test_log_probabilities_are_those_of_the_penalised_distribution():
    lm = build("llama")
    sampling = SamplingConfig(temperature=0.7, max_new_tokens=NEW, repetition_penalty=1.5)
    made = generate(policy_of(lm), PROMPTS, eos_ids=ENDS, sampling=sampling, seed=5)
    worse = RepetitionPenaltyLogitsProcessor(1.5)
    for prompt, (sample,) in zip(PROMPTS, made, strict=True):
        ids = torch.tensor([prompt + sample.ids])
        logits_LV = lm(ids).logits[0]
        for t, (token, logp) in enumerate(zip(sample.ids, sample.logp, strict=True)):
            at = len(prompt) + t
            scores_1V = worse(ids[:, :at], logits_LV[at - 1 : at].clone())
            assert logp == pytest.approx((scores_1V / 0.7).log_softmax(1)[0, token].item(), abs=1e-4)
