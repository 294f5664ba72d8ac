"""The decode loop: a prompt is read once for all its samples, and waiting rows take the places of finished ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from homestretch.generation.sampling import SamplingConfig, choose, row_uniforms
from homestretch.policies.causal import CausalDecoding
from homestretch.policies.policy import Policy
from homestretch.policies.seq2seq import Seq2SeqDecoding
from homestretch.seeds import fold

MAX_ROWS = {"cpu": 48}


@dataclass(frozen=True)
class Sample:
    """One generated response: token ids (end marker included when there is one), their log-probabilities under the
    sampling distribution, and whether it ended by itself."""

    ids: list[int]
    logp: list[float]
    terminated: bool


def generate(
    policy: Policy,
    prompts: Sequence[list[int]],
    *,
    eos_ids: Sequence[int],
    sampling: SamplingConfig,
    seed: int = 0,
    num_samples: int = 1,
    max_rows: int | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> list[list[Sample]]:
    """`num_samples` responses for each prompt of token ids, in the order of the prompts.

    Row r of sample k draws from a stream of its own, seeded by (seed, r, k). At most `max_rows` rows are decoded at
    a time (by default 48 on a CPU, whose caches hold no more, else 256): longest prompts first, and waiting prompts
    take the places of finished rows. `on_done(rows, tokens)` is called when rows have finished.
    """
    limit = max((max_rows or MAX_ROWS.get(policy.device.type, 256)) // num_samples, 1) * num_samples
    waiting = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    results: dict[tuple[int, int], Sample] = {}
    eos_E = torch.tensor(list(eos_ids), device=policy.device)
    with policy.decoding() as start:
        rows: Rows | None = None
        while waiting or rows:
            room = limit - len(rows or ())
            if waiting and (not rows or (rows.state.joins and room >= max(limit // 2, num_samples))):
                admitted, waiting = waiting[: room // num_samples], waiting[room // num_samples :]
                state = start(*pad_left([prompts[i] for i in admitted], policy.device))
                if num_samples > 1:
                    state.repeat(num_samples)
                keys = [(i, k) for i in admitted for k in range(num_samples)]
                rows = Rows.begin(state, keys, seed, sampling.max_new_tokens).after(rows)
            assert rows
            finished = rows.advance(policy, eos_E, sampling)
            results |= finished
            if finished and on_done is not None:
                on_done(len(finished), sum(len(s.ids) for s in finished.values()))
    return [[results[i, k] for k in range(num_samples)] for i in range(len(prompts))]


@dataclass
class Rows:
    """Rows that are being decoded. `keys` are (prompt, sample); `uniform_BT` their random numbers; `at_B` how many
    tokens each has; `ids_BT` and `logp_BT` hold them."""

    state: CausalDecoding | Seq2SeqDecoding
    keys: list[tuple[int, int]]
    uniform_BT: Tensor
    at_B: Tensor
    ids_BT: Tensor
    logp_BT: Tensor

    @classmethod
    def begin(cls, state: CausalDecoding | Seq2SeqDecoding, keys: list[tuple[int, int]], seed: int, width: int) -> Rows:
        """Rows without a token."""
        device = state.hidden_BD.device
        uniform_BT = row_uniforms([fold(seed, row, k) for row, k in keys], width).to(device)
        at_B = torch.zeros(len(keys), dtype=torch.long, device=device)
        ids_BT, logp_BT = torch.zeros_like(uniform_BT, dtype=torch.long), torch.zeros_like(uniform_BT)
        return cls(state, keys, uniform_BT, at_B, ids_BT, logp_BT)

    def __len__(self) -> int:
        return len(self.keys)

    def after(self, others: Rows | None) -> Rows:
        """These rows behind others that are under way."""
        if not others:
            return self
        assert isinstance(self.state, type(others.state))
        others.state.join(self.state)
        columns = zip(others._columns(), self._columns(), strict=True)
        return Rows(others.state, others.keys + self.keys, *(torch.cat(pair) for pair in columns))

    def advance(self, policy: Policy, eos_E: Tensor, sampling: SamplingConfig) -> dict[tuple[int, int], Sample]:
        """One more token for every row; those that are finished with it leave, and are returned."""
        row_B = torch.arange(len(self), device=self.at_B.device)
        token_B, logp_B = choose(policy.logits(self.state.hidden_BD), self.uniform_BT[row_B, self.at_B], sampling)
        self.ids_BT[row_B, self.at_B], self.logp_BT[row_B, self.at_B] = token_B, logp_B
        self.at_B += 1
        ended_B = torch.isin(token_B, eos_E)
        done_B = ended_B | (self.at_B == sampling.max_new_tokens)
        finished = {self.keys[i]: self._sample(i, bool(ended_B[i])) for i in done_B.nonzero().flatten().tolist()}
        if finished:
            kept = (~done_B).nonzero().flatten()
            self.keys = [self.keys[i] for i in kept.tolist()]
            self.uniform_BT, self.at_B, self.ids_BT, self.logp_BT = (column[kept] for column in self._columns())
            token_B = token_B[kept]
            if self.keys:
                self.state.keep(kept)
        if self.keys:
            self.state.step(token_B)
        return finished

    def _columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.uniform_BT, self.at_B, self.ids_BT, self.logp_BT

    def _sample(self, row: int, ended: bool) -> Sample:
        n = int(self.at_B[row])
        return Sample(self.ids_BT[row, :n].tolist(), self.logp_BT[row, :n].tolist(), ended)


def pad_left(prompts: Sequence[list[int]], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Token ids and mask (B, P) of prompts, padding on the left."""
    width = max(len(p) for p in prompts)
    ids_BP = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=device)
    mask_BP = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    return ids_BP, mask_BP
