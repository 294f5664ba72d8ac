"""The tensor nouns that travel between parts of the package.

Every field carries its shape in its name: `_B` sequences, `_P` prompt tokens, `_T` response tokens,
`_K` alternatives, `_M` objectives, `_S` = T + 1 states (state t has seen the prompt and t response tokens), `_D`
hidden.
Batches are frozen; `select`, `trim` and `to` return new ones. A mask is 1 where a token counts; it is born
where text becomes tokens (tokenisation or generation) and only travels from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from homestretch.ops.masks import distinct_rows, left_padded
from homestretch.ops.micro_batches import token_budget_batches, token_shares

Average = Literal["token", "sequence"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of tensors that share their first dimension B."""

    def _tensors(self) -> dict[str, Tensor]:
        return {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}

    def __len__(self) -> int:
        return len(next(iter(self._tensors().values())))

    def to(self, device: torch.device | str) -> Self:
        """The same batch on `device`."""
        return replace(self, **{k: v.to(device) for k, v in self._tensors().items()})

    def select(self, rows: Sequence[int] | Tensor) -> Self:
        """The given rows, in that order, without columns that are padding in all of them."""
        return self.rows(torch.as_tensor(rows, dtype=torch.long)).trim()

    def rows(self, index: Tensor) -> Self:
        """The given rows, in that order, all their columns."""
        return replace(self, **{k: v[index.to(v.device)] for k, v in self._tensors().items()})

    def trim(self) -> Self:
        """Drop trailing columns that no row uses."""
        return self

    def flat(self) -> dict[str, Tensor]:
        """All tensors by name, for saving."""
        return self._tensors()

    @property
    def tokens_B(self) -> Tensor:
        """Tokens of each row."""
        raise NotImplementedError

    @property
    def lengths(self) -> tuple[list[int], list[int], list[int]]:
        """Which prompt each row has, how many tokens that has, and how many stand behind it."""
        raise NotImplementedError

    def parts(self, budget: int) -> list[list[int]]:
        """Rows cut into micro-batches of at most `budget` tokens, rows that share a prompt together."""
        return token_budget_batches(*self.lengths, budget=budget)

    def shares(self, count: int) -> list[list[int]]:
        """Rows dealt out to `count` processes, about equally many tokens to each; all of them in order for one."""
        return token_shares(*self.lengths, count=count)


@dataclass(frozen=True, kw_only=True)
class SequenceBatch(Batch):
    """B prompts with one response each.

    `prompt_ids_BP`, `prompt_mask_BP`: prompt tokens and 1 where they are real (padding may be on either side).
    `ids_BT`, `mask_BT`: response tokens, end marker included when there is one, and 1 where they are real;
    padding is on the right. `index_B`: row of the data set. `ref_length_B`: tokens of the reference, end marker
    included. `reward_B`: one number a sequence. `terminated_B`: True where the response ends in an end marker.
    `logp_sampled_BT`, `value_sampled_BT`: what the policy that sampled the response said of each token, and its value
    head of the state before it, where that is what `Policy.score` says too. `logp_drawn_BT`: log-probability of each
    token under another engine that drew the response; None where the policy drew it itself.
    """

    prompt_ids_BP: Tensor
    prompt_mask_BP: Tensor
    ids_BT: Tensor
    mask_BT: Tensor
    index_B: Tensor | None = None
    ref_length_B: Tensor | None = None
    reward_B: Tensor | None = None
    terminated_B: Tensor | None = None
    logp_sampled_BT: Tensor | None = None
    value_sampled_BT: Tensor | None = None
    logp_drawn_BT: Tensor | None = None

    @property
    def sampled(self) -> Scored | None:
        """What the policy said of its own responses while it sampled them, where that is kept."""
        if self.logp_sampled_BT is None:
            return None
        return Scored(logp_BT=self.logp_sampled_BT, value_BT=self.value_sampled_BT)

    @property
    def prompt_length_B(self) -> Tensor:
        """Real prompt tokens of each row."""
        return self.prompt_mask_BP.sum(1)

    @property
    def length_B(self) -> Tensor:
        """Real response tokens of each row, end marker included."""
        return self.mask_BT.sum(1)

    @property
    def tokens_B(self) -> Tensor:
        """Prompt and response tokens of each row."""
        return self.prompt_length_B + self.length_B

    @property
    def distinct_prompts(self) -> tuple[Tensor, Tensor]:
        """The first row of each distinct prompt (U,), and each row's position among them (B,)."""
        ids_BP, mask_BP = left_padded(self.prompt_ids_BP, self.prompt_mask_BP)
        return distinct_rows(torch.cat([ids_BP, mask_BP], 1))

    @property
    def distinct(self) -> tuple[Tensor, Tensor]:
        """The first of each set of rows with the same prompt and response (U,), and each row's position (B,)."""
        ids_BP, mask_BP = left_padded(self.prompt_ids_BP, self.prompt_mask_BP)
        return distinct_rows(torch.cat([ids_BP, mask_BP, self.ids_BT * self.mask_BT, self.mask_BT], 1))

    @property
    def lengths(self) -> tuple[list[int], list[int], list[int]]:
        return self.distinct_prompts[1].tolist(), self.prompt_length_B.tolist(), self.length_B.tolist()

    def joined(self, other: SequenceBatch) -> SequenceBatch:
        """The prompts and responses of this batch, then those of another."""
        width_P = max(self.prompt_ids_BP.shape[1], other.prompt_ids_BP.shape[1])
        width_T = max(self.ids_BT.shape[1], other.ids_BT.shape[1])

        def both(name: str) -> Tensor:
            tensors = [getattr(batch, name) for batch in (self, other)]
            if name.startswith("prompt"):
                return torch.cat([pad(t, (width_P - t.shape[1], 0)) for t in tensors])
            return torch.cat([pad(t, (0, width_T - t.shape[1])) for t in tensors])

        names = ("prompt_ids_BP", "prompt_mask_BP", "ids_BT", "mask_BT")
        return SequenceBatch(**{name: both(name) for name in names})

    def trim(self) -> Self:
        """Drop response columns on the right, and prompt columns on either side, that no row uses."""
        width_T = max(int(self.length_B.max()), 1)
        used_P = self.prompt_mask_BP.any(0).nonzero().flatten()
        lo, hi = (int(used_P[0]), int(used_P[-1]) + 1) if len(used_P) else (0, 1)
        cut = {k: v[:, :width_T] for k, v in self._tensors().items() if k.endswith(("_BT", "_BTK", "_BTD"))}
        cut |= {k: v[:, lo:hi] for k, v in self._tensors().items() if k.endswith("_BP")}
        return replace(self, **cut)


@dataclass(frozen=True, kw_only=True)
class AdvantageBatch(SequenceBatch):
    """Responses with one advantage each, all of it constant.

    `adv_B`: what the response earns beyond what was expected. `logp_ref_BT`, `logp_old_BT`: log-probability (<= 0,
    nats) of each response token under the frozen reference and under the policy that sampled. None where a method
    does not need it.
    """

    adv_B: Tensor | None = None
    logp_ref_BT: Tensor | None = None
    logp_old_BT: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class RolloutBatch(SequenceBatch):
    """Sampled responses with everything that a policy-gradient step needs, all of it constant.

    `logp_old_BT`, `logp_ref_BT`: log-probability (<= 0, nats) of each response token under the policy that sampled
    and under the frozen reference. `value_old_BT`: V of the state before each token. `adv_BT`, `ret_BT`:
    advantage and return. `candidate_BTK`, `logp_old_BTK`, `adv_BTK`, `weight_BTK`: the look-ahead's candidate
    tokens, their behaviour log-probabilities, advantages and weights; None without look-ahead.
    """

    logp_old_BT: Tensor
    logp_ref_BT: Tensor
    value_old_BT: Tensor
    adv_BT: Tensor
    ret_BT: Tensor
    candidate_BTK: Tensor | None = None
    logp_old_BTK: Tensor | None = None
    adv_BTK: Tensor | None = None
    weight_BTK: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class PairBatch(Batch):
    """B prompts with a better and a worse response each. `margin_B` is added to the wanted difference.
    `failure_mode_B` indexes the kind of the worse response. `logp_ref_chosen_B`, `logp_ref_rejected_B`: log-probability
    (<= 0, nats) of the whole response under the frozen reference, and `reward_chosen_BM`, `reward_rejected_BM`: what
    M other objectives give to it, where a method needs them."""

    chosen: SequenceBatch
    rejected: SequenceBatch
    margin_B: Tensor | None = None
    failure_mode_B: Tensor | None = None
    logp_ref_chosen_B: Tensor | None = None
    logp_ref_rejected_B: Tensor | None = None
    reward_chosen_BM: Tensor | None = None
    reward_rejected_BM: Tensor | None = None

    def __len__(self) -> int:
        return len(self.chosen)

    def to(self, device: torch.device | str) -> Self:
        moved = super().to(device)
        return replace(moved, chosen=self.chosen.to(device), rejected=self.rejected.to(device))

    def select(self, rows: Sequence[int] | Tensor) -> Self:
        picked = super().select(rows)
        return replace(picked, chosen=self.chosen.select(rows), rejected=self.rejected.select(rows))

    def flat(self) -> dict[str, Tensor]:
        sides = {"chosen": self.chosen.flat(), "rejected": self.rejected.flat()}
        return super().flat() | {f"{side}.{k}": v for side, tensors in sides.items() for k, v in tensors.items()}

    @property
    def tokens_B(self) -> Tensor:
        """Tokens of both sides of each row."""
        return self.chosen.tokens_B + self.rejected.tokens_B

    @property
    def lengths(self) -> tuple[list[int], list[int], list[int]]:
        prompts, prompt_lengths, chosen = self.chosen.lengths
        return prompts, prompt_lengths, [a + b for a, b in zip(chosen, self.rejected.lengths[2], strict=True)]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What a policy says of a batch, response-aligned; only the wanted fields are there.

    `logp_BT` (<= 0, nats); `entropy_BT` (>= 0, nats); `logp_BTK` of candidate tokens; `value_BT`: V of the state
    before each token; `hidden_BSD`: states, S = T + 1; `reward_B`: a reward head's logit at the last token;
    `prompt_value_B`: V of the prompt, the same for every response to it; `greedy_BT`: the most probable token in each
    place of the response, given the tokens before it; `term_BT`: what `ops.logprobs.OfLogits` makes of their logits.
    Values where the mask is 0 are arbitrary but finite.
    """

    logp_BT: Tensor | None = None
    entropy_BT: Tensor | None = None
    logp_BTK: Tensor | None = None
    value_BT: Tensor | None = None
    hidden_BSD: Tensor | None = None
    reward_B: Tensor | None = None
    prompt_value_B: Tensor | None = None
    greedy_BT: Tensor | None = None
    term_BT: Tensor | None = None

    def to(self, device: torch.device | str) -> Scored:
        """The same on `device`."""
        there = {f.name: getattr(self, f.name) for f in fields(self)}
        return Scored(**{name: None if value is None else value.to(device) for name, value in there.items()})

    @classmethod
    def assemble(cls, pieces: Sequence[tuple[list[int], Scored]], *, rows: int, width: int) -> Scored:
        """One result out of parts, each with the rows it belongs to; `width` is T of the whole batch."""
        whole: dict[str, Tensor] = {}
        for f in fields(cls):
            values = [(index, getattr(piece, f.name)) for index, piece in pieces]
            if not values or (first := values[0][1]) is None:
                continue
            shape = list(first.shape)
            shape[0] = rows
            if first.dim() > 1:
                shape[1] = width + (f.name == "hidden_BSD")
            out = first.new_zeros(shape)
            for index, value in values:
                if value.dim() > 1:
                    out[index, : value.shape[1]] = value
                else:
                    out[index] = value
            whole[f.name] = out
        return cls(**whole)


@dataclass(frozen=True, kw_only=True)
class LossTerms:
    """Unreduced terms of a loss, to be minimised, and how to average them.

    `terms` and `mask` have the same shape, (B, T) or (B,). `average="token"` divides the masked sum by the number
    of masked entries of the whole optimiser batch; `"sequence"` takes each row's mean first and divides by the
    number of rows. `diagnostics` maps a logged name to (values, mask) of one shape; each is averaged the same way
    over the whole optimiser batch.
    """

    terms: Tensor
    mask: Tensor
    average: Average = "token"
    diagnostics: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
