"""Beam search as transformers defines it, each prompt by itself.

    score(y) = sum_t ln p(y_t | x, y_<t) / len(y)^length_penalty                                                 (1)

`num_beams` unfinished texts of a prompt go on at a time. Of all their continuations by one token the best
(E + 1) num_beams are looked at, E the number of end markers, so that enough unfinished ones are among them: the best
unfinished `num_beams` go on, and the finished ones among the best `num_beams` stand for a place among the `num_beams`
finished texts of highest score. A prompt is done when those are `num_beams` and `early_stopping` says so:

    True     at once
    False    when the best text under way would not come among them if it ended now
    "never"  when it could not come among them at any length, all its further tokens being certain

Deviation: transformers adds -1e9 to what must not be chosen and lets prompts that are done run on with the others; here
a prompt leaves when it is done, so that its texts do not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from homestretch.config.base import Config
from homestretch.generation.engine import seen
from homestretch.generation.sampling import penalised
from homestretch.generation.schedule import OnDone, Sample, State, UnderWay, decode
from homestretch.policies.policy import Policy

NEVER = -1e9
"""transformers' number for what must not be chosen; sums of log-probabilities stay far above it."""


class BeamConfig(Config):
    """How beams are searched. The names, meanings and defaults are those of transformers."""

    num_beams: PositiveInt = 4
    """Texts of a prompt that are under way at a time."""
    length_penalty: float = 1.0
    """Exponent of the length in eq. 1: above 0 favours long texts, since log-probabilities are negative."""
    early_stopping: bool | Literal["never"] = False
    """When a prompt with enough finished texts is done."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Log-probabilities of tokens that the row already has are multiplied by it. Above 1 avoids repeats."""
    max_new_tokens: PositiveInt = 64
    """Tokens at most, end marker included; a text of this length counts as finished."""


def beam_search(
    policy: Policy,
    prompts: Sequence[list[int]],
    *,
    eos_ids: Sequence[int],
    beam: BeamConfig,
    num_samples: int = 1,
    max_rows: int | None = None,
    max_cache_tokens: int | None = None,
    on_done: OnDone | None = None,
) -> list[list[Sample]]:
    """The `num_samples` best responses for each prompt of token ids, best first, in the order of the prompts.

    `max_rows`, `max_cache_tokens` and `on_done` are those of `engine.generate`; a beam is a row. Raises ValueError for
    more samples than beams.
    """
    if num_samples > beam.num_beams:
        raise ValueError(f"{num_samples} texts cannot come from {beam.num_beams} beams")
    eos_E = torch.tensor(list(eos_ids), device=policy.device)

    def begin(state: State, admitted: list[int]) -> Beams:
        read = [policy.decoder_prompt(prompts[i]) for i in admitted for _ in range(beam.num_beams)]
        keys = [(i, 0) for i in admitted]
        return Beams.begin(state, keys, beam, num_samples, eos_E, seen(read, policy))

    results = decode(
        policy,
        prompts,
        begin,
        copies=beam.num_beams,
        max_new_tokens=beam.max_new_tokens,
        max_rows=max_rows,
        max_cache_tokens=max_cache_tokens,
        on_done=on_done,
    )
    return [[results[i, k] for k in range(num_samples)] for i in range(len(prompts))]


@dataclass
class Beams(UnderWay):
    """U prompts whose beams are being searched, K rows each, side by side. `keys` are (prompt, 0), `at` how many tokens
    their beams have; `*_UK*` are the texts under way, `best_*` the finished ones, of length 0 where there is none."""

    COLUMNS: ClassVar = (
        *("ids_UKT", "logp_UKT", "score_UK", "seen_UKV"),
        *("best_ids_UKT", "best_logp_UKT", "best_score_UK", "best_length_UK"),
    )
    LISTS: ClassVar = ("keys", "at")

    config: BeamConfig
    num_samples: int
    eos_E: Tensor
    at: list[int]
    ids_UKT: Tensor
    logp_UKT: Tensor
    score_UK: Tensor
    seen_UKV: Tensor
    best_ids_UKT: Tensor
    best_logp_UKT: Tensor
    best_score_UK: Tensor
    best_length_UK: Tensor

    @classmethod
    def begin(
        cls,
        state: State,
        keys: list[tuple[int, int]],
        config: BeamConfig,
        num_samples: int,
        eos_E: Tensor,
        seen_BV: Tensor,
    ) -> Beams:
        """Beams without a token. All of a prompt are the same, so only the first may go on."""
        logp_UKT = torch.zeros(len(keys), config.num_beams, config.max_new_tokens, device=seen_BV.device)
        score_UK = torch.full_like(logp_UKT[..., 0], NEVER)
        score_UK[:, 0] = 0.0
        return cls(
            state,
            keys,
            config,
            num_samples,
            eos_E,
            at=[0] * len(keys),
            ids_UKT=torch.zeros_like(logp_UKT, dtype=torch.long),
            logp_UKT=logp_UKT,
            score_UK=score_UK,
            seen_UKV=seen_BV.unflatten(0, score_UK.shape),
            best_ids_UKT=torch.zeros_like(logp_UKT, dtype=torch.long),
            best_logp_UKT=logp_UKT.clone(),
            best_score_UK=torch.full_like(score_UK, NEVER),
            best_length_UK=torch.zeros_like(score_UK, dtype=torch.long),
        )

    def __len__(self) -> int:
        return self.score_UK.numel()

    def advance(self, policy: Policy) -> dict[tuple[int, int], Sample]:
        """One more token for every beam; prompts that are done with it leave, and their best texts are returned."""
        config, U1 = self.config, torch.arange(len(self.keys), device=self.score_UK.device)[:, None]
        logp_BV = policy.logits(self.state.hidden_BD).log_softmax(1)
        if config.repetition_penalty != 1.0:
            logp_BV = penalised(logp_BV, self.seen_UKV.flatten(0, 1), config.repetition_penalty)
        logp_UKV = logp_BV.unflatten(0, self.score_UK.shape)
        total_UN = (logp_UKV + self.score_UK[..., None]).flatten(1)
        looked_at = min(max(2, 1 + len(self.eos_E)) * config.num_beams, total_UN.shape[1])
        score_UC, place_UC = total_UN.topk(looked_at)
        beam_UC, token_UC = place_UC // logp_UKV.shape[-1], place_UC % logp_UKV.shape[-1]
        texts = self._continued(U1, beam_UC, token_UC, logp_UKV.flatten(1).gather(1, place_UC))
        self.at = [n + 1 for n in self.at]
        full_U1 = torch.tensor(self.at, device=score_UC.device)[:, None] == config.max_new_tokens
        ends_UC = torch.isin(token_UC, self.eos_E) | full_U1
        self._take_finished(U1, ends_UC, score_UC, *texts)
        self.score_UK, next_UK = (score_UC + ends_UC * NEVER).topk(config.num_beams)
        self.ids_UKT, self.logp_UKT = (text_UCT[U1, next_UK] for text_UCT in texts)
        return self._go_on(self._done(ends_UC), beam_UC.gather(1, next_UK), token_UC.gather(1, next_UK))

    def _continued(self, U1: Tensor, beam_UC: Tensor, token_UC: Tensor, logp_UC: Tensor) -> tuple[Tensor, Tensor]:
        """The texts under way that continuations belong to, each with its token."""
        ids_UCT, logp_UCT = self.ids_UKT[U1, beam_UC], self.logp_UKT[U1, beam_UC]
        at_U11 = torch.tensor(self.at, device=U1.device)[:, None, None].expand(-1, beam_UC.shape[1], 1)
        return ids_UCT.scatter_(2, at_U11, token_UC[..., None]), logp_UCT.scatter_(2, at_U11, logp_UC[..., None])

    def _take_finished(self, U1: Tensor, ends_UC: Tensor, score_UC: Tensor, ids_UCT: Tensor, logp_UCT: Tensor) -> None:
        """Keep the best of the finished texts, those among the first K continuations that end now included."""
        K = self.config.num_beams
        lengths = torch.tensor([n**self.config.length_penalty for n in self.at], device=score_UC.device)
        ends_UK = ends_UC[:, :K]
        score_UK = torch.where(ends_UK, score_UC[:, :K] / lengths[:, None], NEVER)
        length_UK = ends_UK * torch.tensor(self.at, device=ends_UK.device)[:, None]
        self.best_score_UK, best_UK = torch.cat([self.best_score_UK, score_UK], 1).topk(K)
        self.best_length_UK = torch.cat([self.best_length_UK, length_UK], 1).gather(1, best_UK)
        self.best_ids_UKT = torch.cat([self.best_ids_UKT, ids_UCT[:, :K]], 1)[U1, best_UK]
        self.best_logp_UKT = torch.cat([self.best_logp_UKT, logp_UCT[:, :K]], 1)[U1, best_UK]

    def _done(self, ends_UC: Tensor) -> Tensor:
        """Which prompts are done (U,); see the head of this file."""
        config = self.config
        if config.early_stopping is True:
            return (self.best_length_UK > 0).all(1) | ends_UC.all(1)
        at_best = config.early_stopping == "never" and config.length_penalty > 0
        lengths = [float(config.max_new_tokens if at_best else n) ** config.length_penalty for n in self.at]
        hoped_U = self.score_UK[:, 0] / torch.tensor(lengths, device=ends_UC.device)
        return (hoped_U <= self.best_score_UK[:, -1]) | ends_UC.all(1)

    def _go_on(self, done_U: Tensor, beam_UK: Tensor, token_UK: Tensor) -> dict[tuple[int, int], Sample]:
        """Drop the prompts that are done, and feed the others' tokens to the model in the order of their beams."""
        finished = {}
        for u in done_U.nonzero().flatten().tolist():
            finished |= {(self.keys[u][0], k): self._sample(u, k) for k in range(self.num_samples)}
        K, live_U = self.config.num_beams, (~done_U).nonzero().flatten()
        rows_B = (live_U[:, None] * K + beam_UK[live_U]).flatten()
        if self.config.repetition_penalty != 1.0:
            self.seen_UKV = self.seen_UKV.gather(1, beam_UK[..., None].expand_as(self.seen_UKV))
            self.seen_UKV.scatter_(2, token_UK[..., None], True)
        if finished:
            self.only(live_U)
        if self.keys:
            self.state.keep(rows_B)
            self.state.step(token_UK[live_U].flatten())
        return finished

    def _sample(self, u: int, k: int) -> Sample:
        n = int(self.best_length_UK[u, k])
        ids = self.best_ids_UKT[u, k, :n]
        return Sample(ids.tolist(), self.best_logp_UKT[u, k, :n].tolist(), bool(torch.isin(ids[-1], self.eos_E)))
