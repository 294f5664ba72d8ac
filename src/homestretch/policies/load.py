"""Models and tokenizers by name or path, each problem one sentence."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import CONFIG_NAME, cached_file
from transformers.utils.hub import extract_commit_hash

from homestretch import ranks
from homestretch.data.prompts import end_marker
from homestretch.errors import InputError
from homestretch.policies.builtin import NAME, smollm2
from homestretch.policies.heads import lm_head
from homestretch.policies.kernels import fuse
from homestretch.policies.sharding import check_settings, shard
from homestretch.policies.trunk import Trunk
from homestretch.results import StageFolder

HEAD_TOLERANCE = 1e-3
WITH_FINDINGS = {"output_loading_info": True, "ignore_mismatched_sizes": True}
"""For `from_pretrained`: it says which weights it did not find, those of another shape among them."""
PATIENCE = timedelta(hours=6)
"""How long processes wait for each other: the first one evaluates and writes while the others have nothing to do."""
OTHERS_LOOPS = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
}
"""What wants to split models in ways of its own, and take the optimiser over."""


def resolve(name_or_path: str) -> str:
    """A folder for a built-in name, else the name itself. Raises InputError for an unknown built-in."""
    if name_or_path == NAME:
        return str(smollm2())
    if name_or_path.startswith("builtin/"):
        raise InputError(f"There is no model `{name_or_path}`; the built-in one is `{NAME}`.")
    return name_or_path


def choose_device(wanted: Literal["auto", "cpu", "cuda", "mps"] = "auto") -> torch.device:
    """The device to run on, this process's own where a machine has several; the first call joins the other processes.
    `auto` is CUDA where there is any, else the CPU: nobody has run MPS yet, so it must be asked for.

    Raises InputError when CUDA or MPS is asked for and absent, or the processes were launched in a way that is not
    supported.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted != "auto" and not present[wanted]:
        raise InputError(f"The device `{wanted}` is not available here; leave `device` at auto, or set device=cpu.")
    kind = wanted if wanted != "auto" else "cuda" if present["cuda"] else "cpu"
    return _joined(kind) if ranks.count() > 1 else torch.device(kind)


def _joined(kind: str) -> torch.device:
    for name, what in OTHERS_LOOPS.items():
        if os.environ.get(name, "false").lower() in ("true", "1"):
            raise InputError(
                f"This run was launched with {what}, which homestretch does not hand its models to: launch with the "
                "configuration of `homestretch recipes cat launch/gpus`, or of launch/fsdp to shard weights."
            )
    if ranks.sharded():
        check_settings()
    state = PartialState(cpu=kind == "cpu", timeout=PATIENCE)
    atexit.register(state.destroy_process_group)
    return torch.device(kind) if kind != "cuda" else state.device


def load_config(name_or_path: str, *, revision: str | None = None, trust_remote_code: bool = False) -> PretrainedConfig:
    """A model's configuration, without its weights. Raises InputError when it cannot be found."""
    try:
        return AutoConfig.from_pretrained(resolve(name_or_path), revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(_no_model(name_or_path, error)) from None


def commit_of(name: str, *, revision: str | None = None) -> str | None:
    """The commit of a model on the Hub, None where nobody knows it. None of its code is run.

    Raises InputError when the model cannot be found.
    """
    try:
        file = cached_file(name, CONFIG_NAME, revision=revision)
    except (OSError, ValueError) as error:
        raise InputError(_no_model(name, error)) from None
    return extract_commit_hash(file, None)


def load_lm(
    name_or_path: str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    trust_remote_code: bool = False,
    use_liger_kernel: bool = False,
) -> PreTrainedModel:
    """A causal or encoder-decoder language model.

    Raises InputError when it cannot be found, has not all weights that its configuration speaks of, or its head works
    in a way that `policies.heads` does not know, and where Liger's kernels are asked for and cannot be had.
    """
    path = resolve(name_or_path)
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = load_config(name_or_path, **options)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        lm, found = kind.from_pretrained(path, dtype=dtype, **WITH_FINDINGS, **options)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(_no_model(name_or_path, error)) from None
    if (name := left_random(found)) is not None:
        raise InputError(
            f"The model `{name_or_path}` has no `{name}` of the shape that its config.json asks for, and would start "
            "with random weights there; give a language model that was saved whole."
        )
    check_lm_head(lm)
    lm = lm.to(device).eval()
    if use_liger_kernel:
        fuse(lm)
    return lm


def left_random(found: Mapping[str, Any]) -> str | None:
    """The first weight by name that a loaded checkpoint did not fill: absent, or of another shape. None: there is none.
    `found` is what `from_pretrained` says about it with `WITH_FINDINGS`."""
    return min([*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])], default=None)


def load_tokenizer(
    name_or_path: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model; without a pad token it uses the end marker, if there is one.

    Raises InputError where it cannot be loaded. What needs an end marker asks `data.prompts.end_marker`.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            resolve(name_or_path), revision=revision, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(_no_model(name_or_path, error)) from None
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_whole(name_or_path: str, **options: Any) -> Trunk:
    """A trunk without adapters or heads, every process with all its weights (see `load_lm` for options and errors)."""
    return Trunk(load_lm(name_or_path, **options))


def load_trunk(name_or_path: str, **options: Any) -> Trunk:
    """A trunk without adapters or heads (see `load_lm` for options and errors), sharded where the run was launched so.

    Every process reads all weights into the memory of its machine first; a device gets a layer at a time.
    """
    if not ranks.sharded():
        return load_whole(name_or_path, **options)
    device = torch.device(options.pop("device", "cpu"))
    return shard(Trunk(load_lm(name_or_path, **options)), device)


@torch.no_grad()
def check_lm_head(lm: PreTrainedModel) -> None:
    """Raise InputError unless `policies.heads.lm_head` gives the model's own logits."""
    ids = torch.arange(3, 7, device=lm.device)[None] % lm.config.get_text_config().vocab_size
    kwargs = {"decoder_input_ids": ids} if lm.config.is_encoder_decoder else {}
    lm.eval()
    out = lm(input_ids=ids, output_hidden_states=True, **kwargs)
    hidden = (out.decoder_hidden_states if lm.config.is_encoder_decoder else out.hidden_states)[-1]
    ours = lm_head(lm)(hidden[0]).float()
    if (ours - out.logits[0].float()).abs().max() > HEAD_TOLERANCE * out.logits.abs().max():
        raise InputError(f"The output head of `{lm.config.model_type}` models is not supported; use another model.")


def end_ids(lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids that end a response: the tokenizer's, and those of the model's generation settings. Raises InputError
    where the tokenizer has no end marker."""
    configured = lm.generation_config.eos_token_id if lm.generation_config is not None else None
    extra = configured if isinstance(configured, list) else [configured]
    return sorted({end_marker(tokenizer), *(int(i) for i in extra if i is not None)})


def _no_model(name: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    problem = f"The model `{name}` cannot be loaded ({first[:200].rstrip('. ')})"
    if name == NAME:
        return f"{problem}; delete {resolve(name)} and start again: it is then made anew."
    made = next((folder for folder in Path(name).parents if StageFolder(folder).record.is_file()), None)
    if made is not None and Path(name).exists():
        return f"{problem}; a stage of a run made it: delete {made} and start that run again."
    known = Path(name).exists()
    remedy = "it must be a folder in Hugging Face format" if known else "there is no such folder: check the name"
    return f"{problem}; {remedy}, or use `{NAME}`."
