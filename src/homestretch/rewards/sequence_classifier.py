"""Rewards of a sequence classification model of transformers, with a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from homestretch.config.base import nearest
from homestretch.config.training import MICRO_BATCH_TOKENS, MICRO_BATCH_TOKENS_CPU
from homestretch.data.records import Text
from homestretch.errors import InputError, RecipeError
from homestretch.ops.micro_batches import token_budget_batches
from homestretch.policies.load import WITH_FINDINGS, left_random, load_tokenizer, resolve
from homestretch.policies.memory import within_memory
from homestretch.policies.precision import autocast
from homestretch.policies.room import room

Reads = Literal["completion", "text", "pair"]


@dataclass
class SequenceClassifier:
    """Log-odds of one class of a classifier. It follows the `Reward` protocol.

    `label` is the number of the class. What is longer than the model can read loses the start of its prompt; a
    completion that is too long alone is an InputError.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    label: int
    reads: Reads
    precision: Callable[[], AbstractContextManager[None]]

    def __call__(self, prompts: Sequence[Any], completions: Sequence[str], **_: Any) -> list[float]:
        """Log-odds of completions, whatever the order and the micro-batches."""
        ids = [self._ids(prompt, text) for prompt, text in zip(prompts, completions, strict=True)]
        budget = MICRO_BATCH_TOKENS_CPU if self.model.device.type == "cpu" else MICRO_BATCH_TOKENS
        return within_memory(lambda tokens: self._scored(ids, tokens), budget)

    @torch.no_grad()
    def _scored(self, rows: list[dict[str, list[int]]], budget: int) -> list[float]:
        lengths = [len(row["input_ids"]) for row in rows]
        rewards = [0.0] * len(rows)
        for part in token_budget_batches(range(len(rows)), [0] * len(rows), lengths, budget=budget):
            batch = self.tokenizer.pad([rows[i] for i in part], return_tensors="pt", padding_side="right")
            with self.precision():
                logits_BC = self.model(**batch.to(self.model.device)).logits
            found = log_odds(self.model.config, logits_BC.float(), self.label).tolist()
            found = log_odds(self.model.config, logits_BC.float(), self.label).tolist()
            for i, reward in zip(part, found, strict=True):
                rewards[i] = reward
        return rewards

    @cached_property
    def _room(self) -> int | None:
        return room(self.model, self.tokenizer)

    def _ids(self, prompt: Text, completion: str) -> dict[str, list[int]]:
        chat = self.reads == "text" and not isinstance(prompt, str) and bool(self.tokenizer.chat_template)
        pair = self.reads == "pair"
        cut: dict[str, Any] = {"add_special_tokens": not chat}  # a template writes its own
        if self._room is not None:
            specials = 0 if chat else self.tokenizer.num_special_tokens_to_add(pair=pair)
            most = self._room - specials - pair  # of a pair's prompt a token is always kept
            own = len(self.tokenizer(completion, add_special_tokens=False)["input_ids"])
            if own > most:
                raise InputError(
                    f"The classifier `{self.name}` reads at most {most} tokens of a completion, and one has {own}: "
                    "lower dataset.max_completion_length, or leave the reward out."
                )
            cut |= {"truncation": "only_first" if pair else True, "max_length": self._room}
        if pair:
            return dict(self.tokenizer(self._text(prompt), completion, **cut))
        whole = self._joined(prompt, completion, chat) if self.reads == "text" else completion
        return dict(self.tokenizer(whole, **cut))

    def _joined(self, prompt: Text, completion: str, chat: bool) -> str:
        if not chat:
            return self._text(prompt) + completion
        messages = [*prompt, {"role": "assistant", "content": completion}]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False))

    def _text(self, prompt: Text) -> str:
        return prompt if isinstance(prompt, str) else "\n".join(m["content"] for m in prompt)


def log_odds(config: Any, logits_BC: Tensor, label: int) -> Tensor:
    """Log-odds (B,) of a class, whose sigmoid is its probability: of labels that exclude each other the logit minus
    the log-sum-exp of the others, else the logit."""
    if logits_BC.shape[1] == 1 or config.problem_type == "multi_label_classification":
        return logits_BC[:, label]
    others_BC = logits_BC.clone()
    others_BC[:, label] = -torch.inf
    return logits_BC[:, label] - others_BC.logsumexp(1)


def load_sequence_classifier(
    name: str,
    *,
    label: int | str | None = None,
    reads: Reads = "completion",
    device: torch.device | str = "cpu",
    trust_remote_code: bool = False,
) -> SequenceClassifier:
    """A classifier by folder or Hub name. Raises InputError where there is none or it has no trained head, and
    RecipeError where the label is not one of its own."""
    tokenizer = load_tokenizer(name, trust_remote_code=trust_remote_code)
    tokenizer.truncation_side = "left"
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            resolve(name), dtype=torch.float32, trust_remote_code=trust_remote_code, **WITH_FINDINGS
        )
    except (OSError, ValueError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"The classifier `{name}` cannot be loaded ({first}); check the name.") from None
    if (weight := left_random(found)) is not None:
        raise InputError(
            f"`{name}` is no classifier: it has no weights for {weight}, which would be "
            "random; give a model that was trained to classify."
        )
    if model.config.get_text_config().pad_token_id is None:
        model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    device = torch.device(device)
    return SequenceClassifier(
        name, model.to(device).eval(), tokenizer, label_number(name, model.config, label), reads, autocast(device)
    )


def label_number(name: str, config: Any, label: int | str | None) -> int:
    """The class's number. Raises RecipeError where it must be named, or is not there."""
    names = {int(i): str(text) for i, text in config.id2label.items()}
    if label is None and len(names) == 1:
        return 0
    if label is None:
        raise RecipeError(
            f"The classifier `{name}` has {len(names)} classes: say which one is rewarded with `label`, one of "
            f"{', '.join(f'`{text}`' for text in names.values())}."
        )
    if isinstance(label, int) and label in names:
        return label
    by_name = {text: i for i, text in names.items()}
    if label in by_name:
        return by_name[str(label)]
    raise RecipeError(f"The classifier `{name}` has no class `{label}`; {nearest(str(label), list(by_name))}")
