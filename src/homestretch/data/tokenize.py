"""Examples as token ids, within lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from homestretch.data.prompts import completion_ids, prompt_ids
from homestretch.data.records import Example
from homestretch.errors import DataError

UNNAMED = "rejected"
"""The failure mode of a worse response whose row names none."""


@dataclass(frozen=True)
class TokenizedExample:
    """One prompt and response as ids.

    `index` is the row of the list it came from. `completion_ids` has the end marker last, unless the response did not
    end by itself or was cut: `terminated` says which. `ref_length`: tokens of the whole reference, end marker included.
    `truncated`: something was cut. `reward`: the row's stored reward.
    """

    index: int
    prompt_ids: list[int]
    completion_ids: list[int]
    ref_length: int
    terminated: bool = True
    truncated: bool = False
    reward: float | None = None


@dataclass(frozen=True)
class TokenizedPair:
    """A better and a worse response to one prompt; `failure_mode` is the kind of the worse one, `margin` the difference
    of rewards that is wanted, in logits."""

    chosen: TokenizedExample
    rejected: TokenizedExample
    failure_mode: str
    margin: float = 0.0


def tokenize_examples(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    *,
    is_encoder_decoder: bool,
    max_prompt_length: int | None = None,
    max_completion_length: int | None = None,
    truncate: bool = False,
) -> list[TokenizedExample]:
    """Every example in its order.

    Lengths are in tokens, special tokens included. What is longer is a DataError that names the row; with `truncate`
    a prompt loses its middle (instructions stand at either end) and a completion its end and end marker.
    """
    limits = Limits(max_prompt_length, max_completion_length, truncate=truncate)
    rows = []
    for index, e in enumerate(examples):
        prompt = prompt_ids(e.prompt, tokenizer, is_encoder_decoder=is_encoder_decoder, where=e.where)
        answer = completion_ids(e.completion, e.prompt, tokenizer, is_encoder_decoder=is_encoder_decoder, where=e.where)
        rows.append(limits.applied(index, prompt, answer, e, ref_length=len(answer)))
    return rows


def tokenize_pairs(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    *,
    is_encoder_decoder: bool,
    max_prompt_length: int | None = None,
    max_completion_length: int | None = None,
    truncate: bool = False,
) -> list[TokenizedPair]:
    """Rows with `chosen` and `rejected`, in their order; lengths as in `tokenize_examples`, but a worse response that
    is too long is always cut, as generation would cut it.

    A column `rejected_terminated` that is false says that the worse response has no end marker. Raises DataError for a
    row without `rejected`.
    """
    limits = Limits(max_prompt_length, max_completion_length, truncate=True)
    chosen = tokenize_examples(
        examples,
        tokenizer,
        is_encoder_decoder=is_encoder_decoder,
        max_prompt_length=max_prompt_length,
        max_completion_length=max_completion_length,
        truncate=truncate,
    )
    pairs = []
    for better, e in zip(chosen, examples, strict=True):
        if "rejected" not in e.columns:
            raise DataError(
                f"{e.where}: there is no column `rejected`; give preference rows (prompt, chosen, rejected)."
            )
        ended = e.columns.get("rejected_terminated", True)
        worse = completion_ids(
            e.columns["rejected"],
            e.prompt,
            tokenizer,
            is_encoder_decoder=is_encoder_decoder,
            terminated=ended,
            where=e.where,
        )
        rejected = limits.applied(better.index, better.prompt_ids, worse, e, ref_length=better.ref_length, ended=ended)
        mode, margin = e.columns.get("failure_mode", UNNAMED), e.columns.get("margin", 0.0)
        pairs.append(TokenizedPair(better, rejected, mode, margin))
    return pairs


def length_check(
    tokenizer: PreTrainedTokenizerBase,
    *,
    is_encoder_decoder: bool,
    max_prompt_length: int | None = None,
    max_completion_length: int | None = None,
) -> Callable[[Example], None]:
    """A check for `sources.load`: raises DataError for an example that does not fit, so that it can be skipped."""

    def check(example: Example) -> None:
        tokenize_examples(
            [example],
            tokenizer,
            is_encoder_decoder=is_encoder_decoder,
            max_prompt_length=max_prompt_length,
            max_completion_length=max_completion_length,
        )

    return check


@dataclass(frozen=True)
class Limits:
    """Greatest lengths in tokens, and whether longer rows are cut or refused."""

    prompt: int | None
    completion: int | None
    truncate: bool

    def applied(
        self, index: int, prompt: list[int], answer: list[int], example: Example, *, ref_length: int, ended: bool = True
    ) -> TokenizedExample:
        """The row within the limits. Raises DataError."""
        kept_prompt, kept_answer = prompt, answer
        if self.prompt is not None and len(prompt) > self.prompt:
            self._allow_cut(example, "prompt", len(prompt), self.prompt)
            tail = self.prompt // 2
            kept_prompt = prompt[: self.prompt - tail] + prompt[len(prompt) - tail :]
        if self.completion is not None and len(answer) > self.completion:
            self._allow_cut(example, "completion", len(answer), self.completion)
            kept_answer = answer[: self.completion]
        whole = len(kept_answer) == len(answer)
        truncated = not whole or len(kept_prompt) < len(prompt)
        reward = example.columns.get("reward")
        return TokenizedExample(index, kept_prompt, kept_answer, ref_length, ended and whole, truncated, reward)

    def _allow_cut(self, example: Example, what: str, length: int, limit: int) -> None:
        if not self.truncate:
            raise DataError(
                f"{example.where}: the {what} has {length:,} tokens, more than the {limit:,} that fit; "
                f"shorten it, set dataset.truncate=true, or raise dataset.max_{what}_length where the model has room."
            )
