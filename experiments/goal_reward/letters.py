"""Small models that read one character a token, and files of rows, for the tasks that are made here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from homestretch.writing import write_rows


def model_of_letters(folder: Path, letters: str, *, seed: int, width: int, layers: int) -> str:
    """A Llama with random weights that reads these letters."""
    vocab = {token: i for i, token in enumerate(["<pad>", "</s>", "<unk>", *letters])}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    torch.manual_seed(seed)
    sizes = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
    }
    config = LlamaConfig(vocab_size=len(vocab), eos_token_id=1, bos_token_id=None, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def written(file: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """The file, with these rows as JSONL."""
    write_rows(file, rows)
    return file
