"""One set of base weights with adapters and heads, and the policies and rewards that are views of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from homestretch.batch import Scored, SequenceBatch
from homestretch.config.training import TrainingConfig
from homestretch.ops.logprobs import Head, OfLogits, chunked_greedy, chunked_logprobs, chunked_terms
from homestretch.policies import causal, seq2seq
from homestretch.policies.adapters import activate, copy_adapter, without_noise
from homestretch.policies.attention import plain_if_short
from homestretch.policies.heads import PooledValueHead, ScalarHead, lm_head
from homestretch.policies.prompt_states import prompt_hidden
from homestretch.policies.rows import shared_rows

CHUNK_LOGITS, CHUNK_LOGITS_CPU = 1 << 26, 1 << 23
"""Logits that exist at one time, so that memory does not grow with the vocabulary."""


class Trunk(nn.Module):
    """A transformers model, the LoRA adapters on it, and named scalar heads.

    With adapters, policy, reference and reward are views of one trunk: an adapter by name, or None for the base
    weights. Without, each role has a trunk of its own and every weight is trained.
    """

    def __init__(self, lm: PreTrainedModel) -> None:
        super().__init__()
        self.model: PreTrainedModel | PeftModel = lm
        self.heads = nn.ModuleDict()
        self.active: str | None = None

    @property
    def lm(self) -> PreTrainedModel:
        """The transformers model, adapters inside its layers."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether prompts go through an encoder."""
        return bool(self.lm.config.is_encoder_decoder)

    @property
    def hidden_size(self) -> int:
        """D, the width of a state."""
        return int(self.lm.config.get_text_config(decoder=True).hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.lm.device

    def add_adapter(self, name: str, config: TrainingConfig) -> None:
        """A new LoRA adapter; it starts as the identity."""
        lora = LoraConfig(
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=config.lora_target_modules,
            fan_in_fan_out=any(isinstance(m, Conv1D) for m in self.lm.modules()),
            task_type=TaskType.SEQ_2_SEQ_LM if self.is_encoder_decoder else TaskType.CAUSAL_LM,
        )
        with without_noise():
            if isinstance(self.model, PeftModel):
                self.model.add_adapter(name, lora)
            else:
                self.model = get_peft_model(self.model, lora, adapter_name=name)
        # peft switches a first adapter on; `using` must not take it for the base weights.
        activate(self.model, self.active)

    def copy_adapter(self, source: str, name: str) -> None:
        """A new adapter that starts as a copy of another one, rank and scale included.

        Raises KeyError where there is no such adapter.
        """
        if not isinstance(self.model, PeftModel):
            raise KeyError(source)
        copy_adapter(self.model, source, name)
        activate(self.model, self.active)

    def checkpoint_activations(self) -> None:
        """Compute activations again in the backward pass instead of keeping them, each with its own adapter on."""
        # transformers below 5.23 has it under the old name only.
        enable = getattr(self.lm, "activation_checkpointing_enable", self.lm.gradient_checkpointing_enable)
        enable({"use_reentrant": False, "context_fn": lambda: (nullcontext(), self.using(self.active))})
        for module in self.lm.modules():
            # transformers does so in training mode alone; dropout stays as the model was loaded, off.
            if getattr(module, "gradient_checkpointing", False):
                module.training = True

    def add_head(self, name: str, *, zero: bool) -> None:
        """A new scalar head on the last hidden state."""
        self.heads[name] = ScalarHead(self.hidden_size, zero=zero).to(self.device)

    def add_prompt_head(self, *, r_max: float) -> PooledValueHead:
        """A new head `prompt_value` on the states of prompts, with values in (0, r_max)."""
        head = PooledValueHead(self.hidden_size, r_max=r_max).to(self.device)
        self.heads["prompt_value"] = head
        return head

    @contextmanager
    def using(self, adapter: str | None) -> Iterator[None]:
        """Run the block with this adapter on (None: all off)."""
        if isinstance(self.model, PeftModel) and adapter != self.active:
            activate(self.model, adapter)
            self.active = adapter
        yield

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings of token ids as the decoder reads them, (...) -> (..., D)."""
        reader = self.lm.get_decoder() if self.is_encoder_decoder else self.lm
        return reader.get_input_embeddings()(ids)

    def forward(
        self,
        batch: SequenceBatch,
        *,
        adapter: str | None,
        want: Collection[str],
        inputs_embeds: Tensor | None = None,
        candidate_BTK: Tensor | None = None,
        of_logits: OfLogits | None = None,
        heads_only: bool = False,
        temperature: float = 1.0,
    ) -> Scored:
        """What `want` names of the batch: logp, entropy, greedy, value, hidden, reward, prompt_value (see
        `batch.Scored`)."""
        fields: dict[str, Tensor] = {}
        if "prompt_value" in want:
            fields["prompt_value_B"] = self._prompt_value(batch, adapter, heads_only=heads_only)
            if set(want) == {"prompt_value"} and candidate_BTK is None:
                return Scored(**fields)
        with (
            self.using(adapter),
            plain_if_short(self.lm, batch),
            torch.set_grad_enabled(torch.is_grad_enabled() and not heads_only),
        ):
            hidden_BSD = self._response_hidden(batch, inputs_embeds)
        if "hidden" in want:
            fields["hidden_BSD"] = hidden_BSD
        if {"logp", "entropy"} & set(want):
            fields |= self._logprobs(hidden_BSD, batch.ids_BT, batch.mask_BT, temperature, entropy="entropy" in want)
        if "greedy" in want:
            where = batch.mask_BT.bool()
            greedy_N = chunked_greedy(hidden_BSD[:, :-1][where], lm_head(self.lm), chunk_rows=self.chunk_rows)
            fields["greedy_BT"] = torch.zeros_like(batch.ids_BT).masked_scatter(where, greedy_N)
        if candidate_BTK is not None:
            made = self._logprobs(hidden_BSD, candidate_BTK, batch.mask_BT, temperature, entropy=False)
            fields["logp_BTK"] = made["logp_BT"]
        if of_logits is not None:
            fields["term_BT"] = self._terms(hidden_BSD, batch.mask_BT, of_logits, temperature)
        if "value" in want:
            fields["value_BT"] = self.heads["value"](hidden_BSD[:, :-1])
        if "reward" in want:
            last_B11 = batch.length_B[:, None, None].expand(-1, 1, hidden_BSD.shape[-1])
            fields["reward_B"] = self.heads["reward"](hidden_BSD.gather(1, last_B11).squeeze(1))
        return Scored(**fields)

    def _prompt_value(self, batch: SequenceBatch, adapter: str | None, *, heads_only: bool) -> Tensor:
        with self.using(adapter), torch.set_grad_enabled(torch.is_grad_enabled() and not heads_only):
            hidden_UPD, mask_UP, inverse_B = prompt_hidden(self.lm, batch)
        return shared_rows(self.heads["prompt_value"](hidden_UPD, mask_UP), inverse_B)

    def _response_hidden(self, batch: SequenceBatch, inputs_embeds: Tensor | None) -> Tensor:
        module = seq2seq if self.is_encoder_decoder else causal
        if inputs_embeds is not None:
            return module.response_hidden(self.lm, batch, inputs_embeds)
        first_U, inverse_B = batch.distinct
        if len(first_U) == len(batch):
            return module.response_hidden(self.lm, batch)
        hidden_USD = module.response_hidden(self.lm, batch.rows(first_U))
        return shared_rows(hidden_USD, inverse_B)

    def head(self, temperature: float = 1.0) -> Head:
        """The map (n, D) -> (n, V) from last hidden states to logits at a temperature."""
        head = lm_head(self.lm)

        def tempered(hidden_nD: Tensor) -> Tensor:
            return head(hidden_nD) / temperature

        return tempered

    @property
    def chunk_rows(self) -> int:
        """Rows whose logits exist at one time."""
        most = CHUNK_LOGITS_CPU if self.device.type == "cpu" else CHUNK_LOGITS
        return max(most // int(self.lm.config.get_text_config(decoder=True).vocab_size), 1)

    def _logprobs(
        self, hidden_BSD: Tensor, ids: Tensor, mask_BT: Tensor, temperature: float, *, entropy: bool
    ) -> dict[str, Tensor]:
        where, head = mask_BT.bool(), self.head(temperature)
        logp_N, entropy_N = chunked_logprobs(
            hidden_BSD[:, :-1][where], head, ids[where], chunk_rows=self.chunk_rows, entropy=entropy
        )
        fields = {"logp_BT": logp_N.new_zeros(ids.shape).index_put(where.nonzero(as_tuple=True), logp_N)}
        if entropy_N is not None:
            fields["entropy_BT"] = entropy_N.new_zeros(mask_BT.shape).masked_scatter(where, entropy_N)
        return fields

    def _terms(self, hidden_BSD: Tensor, mask_BT: Tensor, of_logits: OfLogits, temperature: float) -> Tensor:
        where = mask_BT.bool()
        columns = [column.to(self.device)[where] for column in of_logits.columns]
        term_N = chunked_terms(
            hidden_BSD[:, :-1][where], self.head(temperature), of_logits.function, columns, chunk_rows=self.chunk_rows
        )
        return term_N.new_zeros(mask_BT.shape).masked_scatter(where, term_N)
