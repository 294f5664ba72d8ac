"""Liger's kernels: who asks for them where they cannot be had is told so. The kernels themselves need a GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from tiny import build

from homestretch.errors import InputError
from homestretch.policies.kernels import fuse
from homestretch.policies.load import load_lm


def lm(kind: str = "llama", device: str = "cuda") -> SimpleNamespace:
    return SimpleNamespace(device=torch.device(device), config=SimpleNamespace(model_type=kind))


def test_a_model_on_a_cpu_is_refused(tmp_path: Path) -> None:
    build("llama").save_pretrained(tmp_path)
    with pytest.raises(InputError, match="needs a CUDA GPU: leave it out, or set device=cuda"):
        load_lm(str(tmp_path), use_liger_kernel=True)


def test_without_liger_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[liger\]' in the repository"):
        fuse(lm())


def test_a_kind_of_model_without_kernels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("liger_kernel", "liger_kernel.transformers", "liger_kernel.transformers.monkey_patch"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["liger_kernel.transformers.monkey_patch"].MODEL_TYPE_TO_APPLY_LIGER_FN = {"llama": fuse}
    with pytest.raises(InputError, match="no kernels for models of the type `t5`: leave `use_liger_kernel` out"):
        fuse(lm("t5"))
