"""What a reward is: a function of prompts and completions, with the signature that TRL uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Reward(Protocol):
    """Scores completions, higher is better. `columns` are the data set's other columns, one entry a completion.

    None means that the reward does not apply to that completion. The unit is the reward's own; a model's is a logit.
    """

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], **columns: Sequence[Any]
    ) -> Sequence[float | None]: ...
