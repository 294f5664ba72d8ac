"""Text and chat messages as token ids, prompt and completion apart.

The two are tokenised separately, so a prompt's ids never depend on its completion; a space that starts a completion
belongs to the completion. A completion ends in the tokenizer's end marker, in chat in the one that the template
prescribes. Padding is no token here: masks are born from lengths (`collate`).
"""

from __future__ import annotations

from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from homestretch.data.records import Text
from homestretch.errors import DataError, InputError

PROBE = "An answer that stands for another."
"""What a template writes around it, it writes around any answer."""


def prompt_ids(
    prompt: Text, tokenizer: PreTrainedTokenizerBase, *, is_encoder_decoder: bool = False, where: str = "prompt"
) -> list[int]:
    """Ids of a prompt: text as it is, messages through the chat template with its generation prompt.

    Special tokens are the tokenizer's own, except an end marker behind a causal model's prompt. Raises InputError
    where messages meet a tokenizer without template, DataError where the prompt has no token or the template
    refuses it.
    """
    if isinstance(prompt, str):
        ids = list(tokenizer(prompt)["input_ids"])
        if not is_encoder_decoder and ids[-1:] == [tokenizer.eos_token_id]:
            ids.pop()
    else:
        ids = list(
            tokenizer(_rendered(prompt, tokenizer, where, open_answer=True), add_special_tokens=False)["input_ids"]
        )
    if not ids:
        raise DataError(f"{where}: the prompt has no token of this model's vocabulary; correct it, or drop the row.")
    return ids


def completion_ids(
    completion: Text,
    prompt: Text,
    tokenizer: PreTrainedTokenizerBase,
    *,
    is_encoder_decoder: bool = False,
    terminated: bool = True,
    where: str = "completion",
) -> list[int]:
    """Ids of a completion, its end marker last unless it did not end by itself (`terminated`).

    A text completion of messages is the assistant's. Raises InputError where the tokenizer has no end marker.
    """
    if isinstance(prompt, str):
        text = completion if isinstance(completion, str) else completion[0]["content"]
        return _plain_ids(text, tokenizer, is_encoder_decoder, terminated)
    answer = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
    text, end = _chat_answer(answer, prompt, tokenizer, where)
    return [*tokenizer(text, add_special_tokens=False)["input_ids"], *([end] if terminated else [])]


def end_marker(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that ends a text. Raises InputError where the tokenizer has none."""
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"The tokenizer of {tokenizer.name_or_path or 'this model'} has no end-of-sequence token; "
            "set `eos_token` in its tokenizer_config.json."
        )
    return int(tokenizer.eos_token_id)


def _plain_ids(text: str, tokenizer: PreTrainedTokenizerBase, is_encoder_decoder: bool, terminated: bool) -> list[int]:
    end = end_marker(tokenizer)
    # A decoder may start with marks of its own (BART, languages): only the tokenizer knows them.
    ids = tokenizer(text_target=text) if is_encoder_decoder else tokenizer(text, add_special_tokens=False)
    ids = list(ids["input_ids"])
    if ids[-1:] == [end]:
        ids.pop()
    return [*ids, end] if terminated else ids


def _chat_answer(
    answer: list[dict[str, Any]], prompt: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, where: str
) -> tuple[str, int]:
    """What the template writes from the generation prompt to the end of the answer, and the id that ends the turn."""
    start = _rendered(prompt, tokenizer, where, open_answer=True)
    whole = _rendered([*prompt, *answer], tokenizer, where, open_answer=False)
    content = answer[0]["content"].strip()
    # What the template writes behind an answer may say the same as a short one.
    tail = _rendered([*prompt, answer[0] | {"content": PROBE}], tokenizer, where, open_answer=False).rpartition(PROBE)[
        2
    ]
    at = whole.rfind(content, 0, len(whole) - len(tail))
    if not whole.startswith(start) or not whole.endswith(tail) or at < len(start):
        raise InputError(
            f"{where}: the chat template of {tokenizer.name_or_path or 'this model'} changes the answer or what stands "
            "before it; use a template that only adds to them, or give `prompt` and `completion` as text."
        )
    stop = at + len(content)
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | set(
        tokenizer.all_special_ids
    )
    behind = tokenizer(whole[stop:], add_special_tokens=False)["input_ids"] if whole[stop:].strip() else []
    end = next((i for i in behind if i in special), None)
    return whole[len(start) : stop], end_marker(tokenizer) if end is None else end


def _rendered(
    messages: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, where: str, *, open_answer: bool
) -> str:
    if not tokenizer.chat_template:
        raise InputError(
            f"{where}: the row has chat messages, but {tokenizer.name_or_path or 'this model'} has no chat template; "
            "use a model that has one, or give `prompt` and `completion` as text."
        )
    try:
        return str(tokenizer.apply_chat_template(messages, add_generation_prompt=open_answer, tokenize=False))
    except TemplateError as error:
        raise DataError(
            f"{where}: the chat template refuses the messages ({error}); correct their roles or order."
        ) from None
