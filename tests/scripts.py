"""Scripts of experiments as modules, for the tests of their functions."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"


def loaded(name: str, place: str) -> ModuleType:
    """The script at `place` below experiments, as the module `name`."""
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
