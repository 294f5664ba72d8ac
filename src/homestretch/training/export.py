"""Models as others use them: a merged copy in Hugging Face format, the adapter beside it, the tokenizer with both."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from homestretch import ranks
from homestretch.policies.adapters import merge, save_adapter
from homestretch.policies.sharding import make_whole
from homestretch.policies.trunk import Trunk


def save_model(trunk: Trunk, adapter: str | None, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write `folder` (merged weights, configuration, tokenizer) and, with LoRA, `folder/adapter` in peft's format.

    Written beside and renamed, so that a folder that is there is whole; of several processes the first writes. The
    trunk's adapter is merged by this and cannot be trained on; a sharded trunk can do nothing any more.
    """
    make_whole(trunk)
    if not ranks.is_first():
        return
    beside = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    lm = trunk.lm
    if adapter is not None and isinstance(trunk.model, PeftModel):
        save_adapter(trunk.model, beside / "adapter", adapter)
        lm = merge(trunk.model, adapter)
    with torch.no_grad():
        lm.generation_config = _plain_generation(lm, tokenizer)
        lm.save_pretrained(beside)
    tokenizer.save_pretrained(beside)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def link_tree(source: Path, target: Path) -> None:
    """`target` becomes a copy of `source` that shares its bytes on disk where the file system allows.

    Of several processes the first makes it.
    """
    if not ranks.is_first():
        return
    beside = target.with_name(f".{target.name}.writing")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(source, beside, copy_function=_link)
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _plain_generation(lm: torch.nn.Module, tokenizer: PreTrainedTokenizerBase) -> object:
    config = copy.deepcopy(lm.generation_config)
    if config.eos_token_id is None:
        config.eos_token_id = tokenizer.eos_token_id
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    return config
