"""Beam search over lines: eq. 1 by hand, the choice of the best, lines read with and without what stands before."""

from __future__ import annotations

import math

import pytest
import torch
from reference import contrast as reference
from test_engine import policy_of
from tiny import build

from homestretch.errors import InputError
from homestretch.generation import lines
from homestretch.generation.lines import LineBeam, confidence, line_beam, nearness
from homestretch.generation.sampling import SamplingConfig

PROMPTS = [[5, 6, 7], [8, 9, 10, 11]]
ENDS = [20, 41, 57]
BREAK = 33
SAMPLED = SamplingConfig(max_new_tokens=12)


def text_of(ids: list[int]) -> str:
    return "".join("\n" if i == BREAK else "x" for i in ids)


def beam_of(reader, **settings) -> LineBeam:
    goals = torch.randn(2, reader.trunk.hidden_size, generator=torch.Generator().manual_seed(2))
    return LineBeam(reader, goals, torch.tensor([3.0, -1.5]), **({"max_line": 4} | settings))


def search(beam: LineBeam, **sampling):
    policy = policy_of(build("llama"))
    how = SAMPLED.model_copy(update=sampling)
    return line_beam(policy, PROMPTS, beam, eos_ids=ENDS, decode=text_of, sampling=how, seed=1)


def test_confidence_of_two_lines_by_hand():
    first = confidence(1.0, math.log(0.25), 2, decay=0.5)
    assert first == pytest.approx(0.25**0.25)
    assert confidence(first, math.log(0.5), 1, decay=0.5) == pytest.approx(math.sqrt(first * 0.5))


def test_a_confidence_that_has_become_nothing_stays_a_number():
    nothing = confidence(1.0, -4000.0, 2, decay=0.0)
    assert nothing == 0 and confidence(nothing, math.log(0.25), 2, decay=0.5) == 0
    assert confidence(nothing, math.log(0.25), 2, decay=0.0) == pytest.approx(0.5)  # nothing counts before


def test_texts_are_bounded_and_the_same_for_the_same_seed():
    beam = beam_of(policy_of(build("llama", seed=4)))
    made = search(beam)
    assert made == search(beam) and all(1 <= len(s.ids) <= 12 and len(s.logp) == len(s.ids) for s in made)
    assert all(s.terminated == (s.ids[-1] in ENDS) for s in made)
    assert max(len(s.ids) for s in search(beam, max_new_tokens=5)) <= 5


@pytest.mark.parametrize("max_line", [1, 4])
@pytest.mark.parametrize("reads", ["text", "line"])
def test_of_one_step_the_best_line_is_kept(reads, max_line, monkeypatch):
    reader, drawn = policy_of(build("llama", seed=4)), []
    generate = lines.generate
    monkeypatch.setattr(lines, "generate", lambda *given, **how: drawn.append(generate(*given, **how)) or drawn[-1])
    beam = beam_of(reader, samples=8, max_lines=1, max_line=max_line, reads=reads)
    made = search(beam)
    assert [s.ids for s in made] != [group[0].ids for group in drawn[0]]
    for prompt, group, best in zip(PROMPTS, drawn[0], made, strict=True):
        scores = {tuple(s.ids): score(beam, prompt, s.ids, sum(s.logp), reads) for s in group}
        assert len(scores) > 4 and tuple(best.ids) == max(scores, key=lambda ids: scores[ids])


@pytest.mark.parametrize("name", ["llama", "gpt2"])  # the second one knows places: there two equal tokens are not one
@pytest.mark.parametrize("reads", ["text", "line"])
def test_each_state_of_a_line_counts_once(reads, name):
    beam = beam_of(policy_of(build(name, seed=4)), reads=reads)
    rows = [([5, 6, 7], [8, 9, 10]), ([5], [11]), ([30, 31], [12, 13, 14, 15, 12])]
    assert nearness(beam, rows) == pytest.approx([near(beam, *row, reads) for row in rows], abs=1e-5)
    assert nearness(beam, rows[1:2]) == pytest.approx([near(beam, *rows[1], reads)], abs=1e-5)


def score(beam: LineBeam, prompt: list[int], line: list[int], logp: float, reads: str) -> float:
    """z of a first line."""
    return math.exp(0.5 * logp / len(line)) + near(beam, prompt, line, reads)


@torch.no_grad()
def near(beam: LineBeam, prompt: list[int], line: list[int], reads: str) -> float:
    """From the states that the model itself gives for the whole text or for the line."""
    read = torch.tensor([line if reads == "line" else prompt + line])
    states = beam.policy.trunk.lm(read, output_hidden_states=True).hidden_states[-1][0, -len(line) :]
    cosines = [reference.cosine(states.mean(0).tolist(), goal.tolist()) for goal in beam.goals_GD]
    return sum(w * q for w, q in zip(beam.weight_G.tolist(), cosines, strict=True))


def test_a_model_with_an_encoder_reads_no_line_alone():
    with pytest.raises(InputError, match="cannot read a line alone: set `reads`"):
        search(beam_of(policy_of(build("t5", seed=4)), reads="line"))
