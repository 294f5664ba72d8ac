"""Which learned metrics can be computed here, as functions of outputs and their references.

No torch is imported before a scorer is built.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from homestretch.metrics.base import MINILM_PACKAGE

if TYPE_CHECKING:
    from homestretch.metrics.learned import Encoder

Scorer = Callable[[Sequence[str], Sequence[Sequence[str]]], Sequence[float]]
"""Outputs and the references of each to one score each."""

OF_ENCODER = ("bertscore", "similarity")
LEARNED = {*OF_ENCODER, "bleurt"}


def available_scorers(
    metrics: Collection[str] | None = None,
    *,
    bleurt_checkpoint: str | Path | None = None,
    encoder: str | Path | None = None,
    device: str = "cpu",
) -> dict[str, Scorer]:
    """Learned metrics for `evaluate_rows`, by key.

    `metrics`: the keys that are wanted; None wants all there is. `bertscore` and `similarity` use `encoder`, a folder
    or Hub name, else the packaged all-MiniLM-L6-v2 where it is installed; `bleurt` is there if a checkpoint is given.
    Raises MissingDependency where a metric is wanted by name and the packaged encoder is not installed, InputError or
    CheckpointError for models that cannot be loaded.
    """
    found: dict[str, Scorer] = {}
    wanted = [key for key in OF_ENCODER if metrics is None or key in metrics]
    if wanted and (metrics is not None or encoder or find_spec(MINILM_PACKAGE)):
        from homestretch.metrics.learned import Encoder

        shared = encoder_scorers(Encoder(encoder, device=device))
        found |= {key: shared[key] for key in wanted}
    if bleurt_checkpoint is not None and (metrics is None or "bleurt" in metrics):
        from homestretch.metrics.bleurt import Bleurt

        found["bleurt"] = Bleurt(bleurt_checkpoint, device=device)
    return found


def encoder_scorers(encoder: Encoder) -> dict[str, Scorer]:
    """`bertscore` and `similarity` of one encoder, which encodes each text once for both."""
    from homestretch.metrics.learned import bert_score, similarity

    return {
        "bertscore": lambda texts, references: [s.f for s in bert_score(texts, references, encoder=encoder)],
        "similarity": lambda texts, references: similarity(texts, references, encoder=encoder),
    }
