"""Beam search over lines: eq. 1 by hand, the choice of the best, lines read with and without what stands before."""

from __future__ import annotations

import math

import pytest
import torch
from reference import contrast as reference
from test_engine import policy_of
from test_policies import batch_of
from tiny import build

from homestretch.generation.lines import LineBeam, confidence, line_beam
from homestretch.generation.sampling import SamplingConfig

PROMPTS = [[5, 6, 7], [8, 9, 10, 11]]
ENDS = [20, 41, 57]
BREAK = 33
SAMPLED = SamplingConfig(max_new_tokens=12)


def text_of(ids: list[int]) -> str:
    return "".join("\n" if i == BREAK else "x" for i in ids)


def beam_of(reader, **settings) -> LineBeam:
    goals = torch.randn(2, reader.trunk.hidden_size, generator=torch.Generator().manual_seed(2))
    return LineBeam(reader, goals, torch.tensor([1.0, -0.5]), **({"max_line": 4} | settings))


def search(beam: LineBeam, **sampling):
    policy = policy_of(build("llama"))
    how = SAMPLED.model_copy(update=sampling)
    return line_beam(policy, PROMPTS, beam, eos_ids=ENDS, decode=text_of, sampling=how, seed=1)


def test_confidence_of_two_lines_by_hand():
    first = confidence(1.0, math.log(0.25), 2, decay=0.5)
    assert first == pytest.approx(0.25**0.25)
    assert confidence(first, math.log(0.5), 1, decay=0.5) == pytest.approx(math.sqrt(first * 0.5))


def test_texts_are_bounded_and_the_same_for_the_same_seed():
    beam = beam_of(policy_of(build("llama", seed=4)))
    made = search(beam)
    assert made == search(beam) and all(1 <= len(s.ids) <= 12 and len(s.logp) == len(s.ids) for s in made)
    assert all(s.terminated == (s.ids[-1] in ENDS) for s in made)
    assert max(len(s.ids) for s in search(beam, max_new_tokens=5)) <= 5


@pytest.mark.parametrize("reads", ["text", "line"])
def test_of_one_step_the_best_line_is_kept(reads):
    reader = policy_of(build("llama", seed=4))
    few, many = (beam_of(reader, samples=n, max_lines=1, reads=reads, beams=1) for n in (1, 6))
    for prompt, one, best in zip(PROMPTS, search(few), search(many), strict=True):
        scores = [score(reader, few, prompt, s.ids, sum(s.logp), reads) for s in (one, best)]
        assert scores[1] >= scores[0] - 1e-6
    assert search(few) != search(many)


@torch.no_grad()
def score(reader, beam: LineBeam, prompt: list[int], line: list[int], logp: float, reads: str) -> float:
    before, rest = (prompt, line) if reads == "text" else (line[:1], line[1:] or line[:1])
    states = reader.score(batch_of([before], [rest]), want={"hidden"}).hidden_BSD[0, 1:]
    near = [reference.cosine(states.mean(0).tolist(), goal.tolist()) for goal in beam.goals_GD]
    a = math.exp(0.5 * logp / len(line))
    return a + sum(w * q for w, q in zip(beam.weight_G.tolist(), near, strict=True))
