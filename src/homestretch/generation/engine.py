"""The decode loop: a prompt is read once for all its samples, and waiting rows take the places of finished ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from homestretch.generation.beside import reading
from homestretch.generation.sampling import SamplingConfig, choose, penalised, row_uniforms
from homestretch.generation.schedule import OnDone, State, UnderWay, decode
from homestretch.generation.schedule import Sample as Sample
from homestretch.generation.schedule import pad_left as pad_left
from homestretch.generation.steering import Steered, Steering
from homestretch.generation.stopping import StopStrings
from homestretch.generation.watch import Watch, Watched
from homestretch.policies.cache import holes_filled
from homestretch.policies.policy import Policy
from homestretch.seeds import fold


def generate(
    policy: Policy,
    prompts: Sequence[list[int]],
    *,
    eos_ids: Sequence[int],
    sampling: SamplingConfig,
    seed: int = 0,
    num_samples: int = 1,
    stop: StopStrings | None = None,
    max_rows: int | None = None,
    max_cache_tokens: int | None = None,
    head: Callable[[Tensor], Tensor] | None = None,
    watch: Watch | None = None,
    steering: Steering | None = None,
    on_done: OnDone | None = None,
) -> list[list[Sample]]:
    """`num_samples` responses for each prompt of token ids, in the order of the prompts.

    Row r of sample k draws from a stream of its own, seeded by (seed, r, k). A row ends with an id of `eos_ids`, with
    the token that completes one of the strings of `stop`, or after `sampling.max_new_tokens`. At most `max_rows` rows
    are decoded at a time (by default 48 on a CPU, whose caches hold no more, else 256), and no more than have room for
    their longest possible texts in `max_cache_tokens` (by default a quarter of the device's memory), but at least one
    prompt with its samples: longest prompts first, and waiting prompts take the places of finished rows.
    `head` makes a number of each state, (B, D) -> (B,), which the samples keep. A `watch` gives rows up before their
    end, and `steering` weighs their next tokens anew. `on_done` is told of samples when they are finished.
    """
    eos_E = torch.tensor(list(eos_ids), device=policy.device)

    def begin(state: State, admitted: list[int]) -> Rows:
        keys = [(i, k) for i in admitted for k in range(num_samples)]
        uniform_BT = row_uniforms([fold(seed, i, k) for i, k in keys], sampling.max_new_tokens).to(policy.device)
        read = [policy.decoder_prompt(prompts[i]) for i, _ in keys]
        return Rows(
            state,
            keys,
            sampling,
            eos_E,
            uniform_BT,
            at_B=torch.zeros(len(keys), dtype=torch.long, device=policy.device),
            ids_BT=torch.zeros_like(uniform_BT, dtype=torch.long),
            logp_BT=torch.zeros_like(uniform_BT),
            value_BT=torch.zeros_like(uniform_BT),
            head=head,
            seen_BV=seen(read, policy) if sampling.repetition_penalty != 1.0 else uniform_BT.new_zeros(len(keys), 0),
            stop=stop,
            tails=[[] for _ in keys],
            watched=watch and watch.begin(watching, [prompts[i] for i in admitted], num_samples),
            steered=steering and steering.begin(leading or watching, [prompts[i] for i in admitted], num_samples),
        )

    # One model that does both is made ready once: merged twice, its weights would hold the adapter twice.
    leader = None if steering is None or (watch and watch.policy is steering.policy) else steering.policy
    with reading(watch and watch.policy) as watching, reading(leader) as leading:
        limits = max_rows, max_cache_tokens
        results = decode(policy, prompts, begin, num_samples, sampling.max_new_tokens, *limits, on_done=on_done)
    return [[results[i, k] for k in range(num_samples)] for i in range(len(prompts))]


def seen(rows: Sequence[list[int]], policy: Policy) -> Tensor:
    """Which tokens of the vocabulary each row has, (B, V)."""
    seen_BV = torch.zeros(len(rows), policy.vocabulary, dtype=torch.bool, device=policy.device)
    for row_V, ids in zip(seen_BV, rows, strict=True):
        row_V[ids] = True
    return seen_BV


@dataclass
class Rows(UnderWay):
    """Rows that are being decoded. `keys` are (prompt, sample); `uniform_BT` their random numbers; `at_B` how many
    tokens each has; `ids_BT`, `logp_BT` and (with a `head`) `value_BT` hold them. `seen_BV` has no columns without a
    repetition penalty; `tails` are the last tokens of each, for stop strings."""

    COLUMNS: ClassVar = ("uniform_BT", "at_B", "ids_BT", "logp_BT", "value_BT", "seen_BV")
    LISTS: ClassVar = ("keys", "tails")

    sampling: SamplingConfig
    eos_E: Tensor
    uniform_BT: Tensor
    at_B: Tensor
    ids_BT: Tensor
    logp_BT: Tensor
    value_BT: Tensor
    head: Callable[[Tensor], Tensor] | None
    seen_BV: Tensor
    stop: StopStrings | None
    tails: list[list[int]]
    watched: Watched | None
    steered: Steered | None

    def after(self, others: Self | None) -> Self:
        """These rows behind others that are under way."""
        if others and others.watched and self.watched:
            others.watched.join(self.watched)
        if others and others.steered and self.steered:
            others.steered.join(self.steered)
        return super().after(others)

    def only(self, kept: Tensor) -> None:
        """Drop all but these, in this order; the state is not touched."""
        super().only(kept)
        for beside in (self.watched, self.steered):
            if beside and self.keys:
                beside.only(kept)

    def advance(self, policy: Policy) -> dict[tuple[int, int], Sample]:
        """One more token for every row; those that are finished with it leave, and are returned."""
        row_B = torch.arange(len(self), device=self.at_B.device)
        token_B, logp_B = self._choose(policy.logits(self.state.hidden_BD), self.uniform_BT[row_B, self.at_B])
        self.ids_BT[row_B, self.at_B], self.logp_BT[row_B, self.at_B] = token_B, logp_B
        if self.head is not None:
            self.value_BT[row_B, self.at_B] = self.head(self.state.hidden_BD)
        self.at_B += 1
        if self.steered:
            self.steered.wait(token_B)
        ended_B = torch.isin(token_B, self.eos_E) | self._stopped(token_B)
        fallen_B = self.watched.see(token_B) if self.watched else torch.zeros_like(ended_B)
        done_B = ended_B | (self.at_B == self.sampling.max_new_tokens) | fallen_B
        finished = {
            self.keys[i]: self._sample(i, ended=bool(ended_B[i]), given_up=bool(fallen_B[i]))
            for i in done_B.nonzero().flatten().tolist()
        }
        if finished:
            kept = holes_filled(done_B)
            self.only(kept)
            token_B = token_B[kept]
            if self.keys:
                self.state.keep(kept)
        if self.keys:
            self.state.step(token_B)
        return finished

    def _choose(self, logits_BV: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
        penalty = self.sampling.repetition_penalty
        if self.steered:
            logits_BV = self.steered.adjusted(logits_BV)
        if penalty == 1.0:
            return choose(logits_BV, uniform_B, self.sampling)
        token_B, logp_B = choose(penalised(logits_BV, self.seen_BV, penalty), uniform_B, self.sampling)
        self.seen_BV.scatter_(1, token_B[:, None], True)
        return token_B, logp_B

    def _stopped(self, token_B: Tensor) -> Tensor:
        if self.stop is None:
            return torch.zeros_like(token_B, dtype=torch.bool)
        rows = zip(self.tails, token_B.tolist(), strict=True)
        return torch.tensor([self.stop.completes(tail, token) for tail, token in rows], device=token_B.device)

    def _sample(self, row: int, *, ended: bool, given_up: bool) -> Sample:
        n = int(self.at_B[row])
        value = self.value_BT[row, :n].tolist() if self.head is not None else []
        return Sample(self.ids_BT[row, :n].tolist(), self.logp_BT[row, :n].tolist(), ended, value, given_up)
