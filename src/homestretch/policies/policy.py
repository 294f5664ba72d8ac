"""A policy: one view of a trunk, scored in micro-batches and free of architecture."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from homestretch import ranks
from homestretch.batch import Scored, SequenceBatch
from homestretch.collectives import gathered, in_step
from homestretch.ops.logprobs import OfLogits
from homestretch.policies.adapters import merged
from homestretch.policies.causal import CausalDecoding
from homestretch.policies.graphs import graphed_steps
from homestretch.policies.heads import lm_head
from homestretch.policies.inputs import decoder_inputs
from homestretch.policies.memory import release, within_memory
from homestretch.policies.modes import evaluating
from homestretch.policies.prepacked import prepacked
from homestretch.policies.seq2seq import Seq2SeqDecoding, start_id
from homestretch.policies.sharding import whole_weights
from homestretch.policies.trunk import Trunk

StartDecoding = Callable[[Tensor, Tensor], CausalDecoding | Seq2SeqDecoding]
"""Starts decoding of prompt ids and their mask, both (B, P)."""


class Policy:
    """One language model that can be scored: a trunk with one of its adapters, or with none.

    Without gradients, scoring is dealt out to all processes, each of which gets the whole result.

    `autocast` gives the precision context of a forward pass; `budget` is the number of padded tokens of one pass
    when gradients are off (with gradients the training loop has split the batch already). `temperature` divides the
    logits wherever they are read, so that sampling and scoring speak of the same distribution.
    """

    def __init__(
        self,
        trunk: Trunk,
        adapter: str | None,
        *,
        budget: int,
        autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
        temperature: float = 1.0,
    ) -> None:
        self.trunk, self.adapter, self.budget, self.autocast = trunk, adapter, budget, autocast
        self.temperature = temperature

    def at(self, temperature: float) -> Policy:
        """The same view of the same weights at another temperature."""
        return Policy(self.trunk, self.adapter, budget=self.budget, autocast=self.autocast, temperature=temperature)

    def score(
        self,
        batch: SequenceBatch,
        *,
        want: Collection[str],
        inputs_embeds: Tensor | None = None,
        candidate_BTK: Tensor | None = None,
        of_logits: OfLogits | None = None,
        heads_only: bool = False,
    ) -> Scored:
        """Response-aligned quantities of a batch (see `batch.Scored`); `want` is any of logp, entropy, value,
        hidden, reward, greedy, prompt_value. `of_logits` asks for a number for each token made of the logits before it.
        `heads_only` lets no gradient into the trunk. Where no gradients are kept, there is no dropout either."""
        if torch.is_grad_enabled() or inputs_embeds is not None:
            return self._forward(
                batch,
                want=want,
                inputs_embeds=inputs_embeds,
                candidate_BTK=candidate_BTK,
                of_logits=of_logits,
                heads_only=heads_only,
            )
        return self._score_in_parts(batch, want=want, candidate_BTK=candidate_BTK, of_logits=of_logits)

    def _forward(self, batch: SequenceBatch, **kwargs: object) -> Scored:
        with self.autocast():
            return self.trunk(batch.to(self.trunk.device), adapter=self.adapter, temperature=self.temperature, **kwargs)

    def _score_in_parts(
        self, batch: SequenceBatch, *, want: Collection[str], candidate_BTK: Tensor | None, of_logits: OfLogits | None
    ) -> Scored:
        mine = batch.shares(ranks.count())[ranks.rank()]

        def score(budget: int) -> list[tuple[list[int], Scored]]:
            self.budget = budget
            parts = [[mine[i] for i in part] for part in (batch.select(mine).parts(budget) if mine else ())]
            pieces = []
            for rows, is_mine in in_step(parts, [0]):
                part = batch.select(rows)
                width = part.ids_BT.shape[1]
                candidate = None if candidate_BTK is None else candidate_BTK[rows, :width]
                numbers = None if of_logits is None else of_logits.of_rows(rows, width)
                scored = self._forward(part, want=want, candidate_BTK=candidate, of_logits=numbers)
                pieces += [(rows, scored)] if is_mine else []
            return pieces

        with evaluating(self.trunk):
            pieces = within_memory(score, self.budget)
        if ranks.count() > 1:
            there = gathered([(rows, piece.to("cpu")) for rows, piece in pieces])
            pieces = [(rows, piece.to(self.device)) for part in there for rows, piece in part]
        return Scored.assemble(pieces, rows=len(batch), width=batch.ids_BT.shape[1])

    def inputs(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """Ids (B, L) of the tokens that the decoder reads, and 1 where they are the response's; their embeddings are
        what `inputs_embeds` of `score` replaces."""
        return decoder_inputs(self.trunk.lm, batch.to(self.device))

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings of token ids as the decoder reads them, (...) -> (..., D)."""
        return self.trunk.embed(ids)

    @contextmanager
    def decoding(self) -> Iterator[StartDecoding]:
        """The adapter merged for a block, which gets a function that starts to decode prompt ids and their mask.

        Prompts are read in the policy's precision; steps on a CPU, which have few rows, are faster in float32.
        """
        kind = Seq2SeqDecoding if self.trunk.is_encoder_decoder else CausalDecoding
        # Each module gets its own mode back: a trunk is in training mode around a model that was loaded without.
        modes = [(module, module.training) for module in self.trunk.modules()]
        self.trunk.eval()
        on_cpu = self.device.type == "cpu"

        def start(ids: Tensor, mask: Tensor) -> CausalDecoding | Seq2SeqDecoding:
            with self.autocast():
                state = kind(self.trunk.lm, ids, mask)
            if on_cpu:
                state.cast(self.trunk.lm.dtype)
            if isinstance(state, CausalDecoding):
                state.fixed = graphed_steps(self.trunk.lm)
            return state

        precision = nullcontext() if on_cpu else self.autocast()
        try:
            with (
                torch.no_grad(),
                whole_weights(self.trunk),
                merged(self.trunk.model, self.adapter),
                prepacked(self.trunk.lm),
                precision,
            ):
                yield start
        finally:
            self.trunk.active = self.adapter  # `merged` has switched it on
            for module, training in modes:
                module.training = training
            release()

    @property
    def decodes_as_it_scores(self) -> bool:
        """Whether the log-probabilities of decoding are those of `score` but for rounding in float32.

        Mixed precision rounds the two in different places: prompts and steps are read in other pieces, an adapter is
        merged or not, and float32 steps stand beside bfloat16 passes on a CPU.
        """
        with self.autocast():
            mixed = torch.is_autocast_enabled(self.device.type)
        rounded = self.device.type == "cuda" and torch.get_float32_matmul_precision() != "highest"
        return self.trunk.lm.dtype == torch.float32 and not mixed and not rounded

    def logits(self, hidden_BD: Tensor) -> Tensor:
        """Next-token logits of states, (B, D) -> (B, V), in float32: with fewer bits the best tokens would tie."""
        with torch.autocast(self.device.type, enabled=False):
            return lm_head(self.trunk.lm)(hidden_BD.to(self.trunk.lm.dtype)).float() / self.temperature

    def head(self, hidden_ND: Tensor) -> Tensor:
        """Next-token logits of states, (N, D) -> (N, V), in the precision of `score`."""
        with self.autocast():
            return self.trunk.head(self.temperature)(hidden_ND)

    @property
    def chunk_rows(self) -> int:
        """Rows whose logits exist at one time."""
        return self.trunk.chunk_rows

    def decoder_prompt(self, prompt: list[int]) -> list[int]:
        """What stands before a response in the decoder: the prompt, or the start token behind an encoder."""
        return [start_id(self.trunk.lm)] if self.trunk.is_encoder_decoder else prompt

    @property
    def vocabulary(self) -> int:
        """Tokens that have a logit."""
        return len(self.trunk.lm.get_output_embeddings().weight)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.trunk.device
