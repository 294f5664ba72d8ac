"""Tokenizers of a few words, built in code: `<s>` </s> <pad> and the marks of two chat templates are special."""

# ruff: noqa: E501 - a sentence or a template is read whole

from __future__ import annotations

from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIALS = ["<unk>", "<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>", "<|end|>"]
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_END = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
SHOUTS = CHAT.replace("| trim", "| upper")
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT


def tokenizer(
    *,
    eos: bool = True,
    pad: bool = True,
    template: str | None = None,
    adds: str = "",
    pair: str | None = None,
    **options: Any,
) -> PreTrainedTokenizerFast:
    """A character tokenizer (so a space is a token). `adds`: what it puts around a text, e.g. `<s> $A </s>`;
    `pair`: around two."""
    characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:!?'\n"
    vocabulary = {t: i for i, t in enumerate([*SPECIALS, *characters])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex("(?m)."), "isolated")
    raw.decoder = decoders.Fuse()
    raw.add_special_tokens(SPECIALS)
    if adds:
        raw.post_processor = processors.TemplateProcessing(
            single=adds, pair=pair, special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    names = {"unk_token": "<unk>", "bos_token": "<s>"}
    names |= {"eos_token": "</s>"} if eos else {}
    names |= {"pad_token": "<pad>"} if pad else {}
    made = PreTrainedTokenizerFast(tokenizer_object=raw, name_or_path="tiny", **names, **options)
    made.chat_template = template
    return made
