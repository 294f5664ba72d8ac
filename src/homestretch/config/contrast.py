"""Settings of a contrastive term in the training of a reward model."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from homestretch.config.base import Config


class ContrastConfig(Config):
    """States of better responses are drawn to where they lead and away from those of worse ones (Nath et al. 2024,
    sheet goal-conditioned-reward 2.1 to 2.3)."""

    weight: float = Field(0.5, gt=0)
    """Weight of the contrastive term beside the reward's own loss. Origin: the authors' code."""
    states: PositiveInt = 16
    """States of each kind that are drawn from a pair at a step. Origin: the authors' code."""
    source_percentile: float = Field(0.0, ge=0, lt=1)
    """Share of a response's end that no source state comes from. Origin: the authors' code."""
    goal_percentile: float = Field(0.0, ge=0, lt=1)
    """Share of a response's end that no goal state comes from. Origin: the authors' code."""
    matched: bool = False
    """Compare each source with the goal of its own draw, and not with all of them. Then no positive goal lies before
    its source, where about one in six of all of them does; with a `goal_percentile` above `source_percentile` goals do
    (about half of them at 0.5 beside 0). Origin: off in the authors' code."""
    mean_of_log: bool = False
    """Take the mean over state pairs outside the logarithm. Origin: off in the authors' code."""
    in_batch_negatives: bool = False
    """Compare sources with all worse responses of the same pass, so that the result hangs on micro_batch_tokens.
    Origin: off in the authors' code."""
    temperature: float = Field(1.0, gt=0)
    """Divides the cosines. Origin: none in the authors' code."""
    goal_stop_gradient: bool = False
    """Let goals be constants. Origin: off in the authors' code."""
