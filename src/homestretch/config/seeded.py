"""Names of models that the run's seed may be part of: `runs/other/{seed}/model`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

SEED = "{seed}"


def of_seed(name: str, seed: int) -> str:
    """The name of the model of this seed."""
    return name.replace(SEED, str(seed))


def _known(name: str) -> str:
    unknown = [found for found in re.findall(r"\{[^{}]*\}", name) if found != SEED]
    if unknown:
        raise ValueError(f"`{unknown[0]}` stands for nothing; the one placeholder is `{SEED}`, the run's seed")
    return name


SeededName = Annotated[str, Field(min_length=1), AfterValidator(_known)]
"""A model's folder or name. `{seed}` in it stands for the run's seed; no other placeholder is known."""
