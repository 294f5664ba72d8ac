"""Places in responses whose states a contrastive loss compares (sheet goal-conditioned-reward 2.2).

    u = 1 - (1 - p) U,      U uniform in [0, 1)                                                          (1)
    place = L - floor(u n + 1) + 1,      n = L - 1 tokens before the end marker, place >= 1              (2)

A place is a number of response tokens that have been read: state L has seen the end marker, state 1 the first token.
`p` > 0 leaves out the last share of a response. Nothing here draws: numbers come in, so that a batch has the same
places however it is cut.
"""

from __future__ import annotations

import torch
from torch import Tensor


def places(uniform_BK: Tensor, length_B: Tensor, *, percentile: float = 0.0) -> Tensor:
    """Eq. 1 and 2 for each number, (B, K) in 1..L; a response of one token has the place 1 alone.

    uniform_BK   (B, K) in [0, 1); larger numbers are later places
    length_B     (B,) tokens of the responses, end marker included, >= 1
    percentile   p in [0, 1)
    """
    length_B1 = length_B[:, None]
    u_BK = 1 - (1 - percentile) * uniform_BK
    from_end_BK = (u_BK * (length_B1 - 1) + 1).floor().long()
    return torch.minimum((length_B1 - from_end_BK + 1).clamp(min=1), length_B1)


def contrast_places(
    uniform_BK4: Tensor,
    chosen_length_B: Tensor,
    rejected_length_B: Tensor,
    *,
    source_percentile: float = 0.0,
    goal_percentile: float = 0.0,
) -> Tensor:
    """(B, K, 4) places: an earlier and a later one of the better response, which belong together, then one of the
    better and one of the worse response, drawn apart."""
    early_BK, late_BK = uniform_BK4[..., :2].sort(dim=-1).values.unbind(-1)
    return torch.stack(
        [
            places(early_BK, chosen_length_B, percentile=source_percentile),
            places(late_BK, chosen_length_B, percentile=goal_percentile),
            places(uniform_BK4[..., 2], chosen_length_B, percentile=source_percentile),
            places(uniform_BK4[..., 3], rejected_length_B, percentile=goal_percentile),
        ],
        dim=-1,
    )
