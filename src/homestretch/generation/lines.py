"""Beam search over lines that a goal model judges (Nath et al. 2024, arXiv:2407.13887; sheet
goal-conditioned-reward 2.6).

    a_n = (a_n-1^d p_n^(1-d))^(1/L_n),      a_0 = 1                                                      (1)
    z_n = a_n + sum_g w_g cos(mean_t h_t, g)                                                             (2)

p_n is the probability of line n with its L_n tokens, d the decay, h_t the goal model's states behind the line's
tokens. Each text under way is continued by a few sampled lines, and those with the best z go on. A text that has ended
keeps its z. Deviation: the authors' goal model reads the new line alone, which is `reads="line"`; by default it reads
all before it too, as where it was trained. The mean is over all L_n states, either way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from homestretch.data.collate import collate
from homestretch.data.tokenize import TokenizedExample
from homestretch.errors import InputError
from homestretch.generation.engine import generate
from homestretch.generation.sampling import SamplingConfig
from homestretch.generation.schedule import Sample
from homestretch.generation.stopping import StopStrings
from homestretch.ops.contrast import cosines
from homestretch.policies.policy import Policy
from homestretch.seeds import fold


@dataclass(frozen=True)
class LineBeam:
    """How texts are searched; the numbers are those of the authors' code.

    `policy` is the goal model, `goals_GD` (G, D) its goals and `weight_G` (G,) what they count. `max_line` tokens end a
    line, and `max_lines` lines a text, if nothing else does. A model that reads lines alone must be causal: it reads
    the line's tokens and no marker before them.
    """

    policy: Policy
    goals_GD: Tensor
    weight_G: Tensor
    beams: int = 5
    samples: int = 2
    max_line: int = 52
    max_lines: int = 16
    decay: float = 0.5
    reads: Literal["line", "text"] = "text"


@dataclass(frozen=True)
class Text:
    """A text under way: its tokens with their log-probabilities, a of eq. 1 and z of eq. 2."""

    ids: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    confidence: float = 1.0
    score: float = 0.0
    ended: bool = False


def line_beam(
    policy: Policy,
    prompts: Sequence[list[int]],
    beam: LineBeam,
    *,
    eos_ids: Sequence[int],
    decode: Callable[[list[int]], str],
    sampling: SamplingConfig,
    seed: int = 0,
) -> list[Sample]:
    """The best text for each prompt of token ids. `decode` gives the text of ids, whose line breaks end lines.

    `sampling` draws the lines; its `max_new_tokens` bounds a whole text. Raises InputError where a goal model with an
    encoder is to read lines alone.
    """
    if beam.reads == "line" and beam.policy.trunk.is_encoder_decoder:
        raise InputError("A goal model with an encoder cannot read a line alone: set `reads` to `text`.")
    texts = [[Text()] for _ in prompts]
    for number in range(beam.max_lines):
        open_ = [(p, text) for p, group in enumerate(texts) for text in group if not text.ended]
        if not open_:
            break
        grown = _grown(policy, prompts, open_, beam, eos_ids, decode, sampling, fold("lines", seed, number))
        for p, group in enumerate(texts):
            made = [text for q, text in grown if q == p]
            texts[p] = sorted([t for t in group if t.ended] + made, key=lambda t: -t.score)[: beam.beams]
    best = [group[0] for group in texts]
    return [Sample(t.ids, t.logp, bool(t.ids) and t.ids[-1] in set(eos_ids)) for t in best]


def _grown(
    policy: Policy,
    prompts: Sequence[list[int]],
    open_: list[tuple[int, Text]],
    beam: LineBeam,
    eos_ids: Sequence[int],
    decode: Callable[[list[int]], str],
    sampling: SamplingConfig,
    seed: int,
) -> list[tuple[int, Text]]:
    room = sampling.max_new_tokens
    longest = min(beam.max_line, max(room - len(text.ids) for _, text in open_))
    lines = generate(
        policy,
        [prompts[p] + text.ids for p, text in open_],
        eos_ids=eos_ids,
        sampling=sampling.model_copy(update={"max_new_tokens": longest}),
        seed=seed,
        num_samples=beam.samples,
        stop=StopStrings(["\n"], decode),
    )
    cut = [(p, text, _cut(line, room - len(text.ids))) for (p, text), g in zip(open_, lines, strict=True) for line in g]
    near_N = nearness(beam, [(prompts[p] + text.ids, line.ids) for p, text, line in cut])
    ends, found = set(eos_ids), []
    for (p, text, line), near in zip(cut, near_N, strict=True):
        a = confidence(text.confidence, sum(line.logp), len(line.ids), decay=beam.decay)
        ids = text.ids + line.ids
        ended = line.ids[-1] in ends or len(ids) >= room
        found.append((p, Text(ids, text.logp + line.logp, a, a + near, ended)))
    return found


def confidence(before: float, logp: float, length: int, *, decay: float) -> float:
    """a_n of eq. 1, in [0, 1], from a_n-1 and the log-probability of the line (nats)."""
    # d ln a as one product: with d = 0 nothing counts before, not even an a that has become 0.
    kept = torch.xlogy(torch.tensor(decay, dtype=torch.float64), torch.tensor(before, dtype=torch.float64))
    return float(((kept + (1 - decay) * logp) / length).exp())


def _cut(line: Sample, room: int) -> Sample:
    return Sample(line.ids[:room], line.logp[:room], line.terminated and len(line.ids) <= room)


@torch.no_grad()
def nearness(beam: LineBeam, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
    """The sum over goals of eq. 2 for each line; `rows` are the token ids before a line and those of the line."""
    examples = []
    for i, (before, line) in enumerate(rows):
        # A line that is read alone has its first token for a prompt: no model reads a text behind nothing.
        prompt, rest = (before, line) if beam.reads == "text" else (line[:1], line[1:])
        examples.append(TokenizedExample(i, prompt, rest, len(rest)))
    batch = collate(examples)
    hidden_BSD = beam.policy.score(batch, want={"hidden"}).hidden_BSD
    assert hidden_BSD is not None
    # State 0 is that behind the prompt: the line's first token where it is read alone, none of its tokens else.
    first_B1 = torch.full((len(rows), 1), int(beam.reads == "line"))
    mask_BS1 = torch.cat([first_B1, batch.mask_BT], 1)[..., None].to(hidden_BSD.device)
    mean_B1D = ((hidden_BSD * mask_BS1).sum(1) / mask_BS1.sum(1))[:, None]
    goals_BGD = beam.goals_GD.to(hidden_BSD.device).expand(len(mean_B1D), -1, -1)
    return (cosines(mean_B1D, goals_BGD).squeeze(1) @ beam.weight_G.to(hidden_BSD.device)).tolist()
