"""A goal model reads along while rows are decoded, and those that lead nowhere are given up (Nath et al. 2024,
arXiv:2407.13887; sheet goal-conditioned-reward 2.5, while samples are made and not afterwards).

It reads the rows' tokens in pieces, behind a cache of its own: many tokens in one pass cost little beside the steps
that made them. A row that is given up leaves at once, and its place goes to the next prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from homestretch.generation.beside import Beside, started
from homestretch.metrics.voting import Filter
from homestretch.policies.policy import Policy, StartDecoding
from homestretch.rewards.goal import to_goal

EVERY = 16


@dataclass(frozen=True)
class Watch:
    """What reads, where to, and when to give up: `rule` judges Q (-1 to 1) behind every token of a response.

    `policy` is a causal reward model with weights of its own: those of the model that samples are merged meanwhile.
    A row is looked at whenever it has another `every` tokens; what it has written since then when it ends is not
    judged.
    """

    policy: Policy
    goal_D: Tensor
    rule: Filter
    every: int = EVERY

    def begin(self, start: StartDecoding, prompts: Sequence[list[int]], copies: int) -> Watched:
        """Rows of these prompts, copies side by side, before their first token."""
        state, waiting_BN = started(start, prompts, copies, self.policy.device)
        none_B = waiting_BN.new_zeros(len(waiting_BN))
        return Watched(state, waiting_BN, waiting_BN, self, none_B, none_B, none_B.bool())


@dataclass
class Watched(Beside):
    """Rows under watch: `judged_B` counts their tokens that were read, `under_B` how many of the last lay under the
    threshold in a row, `fallen_B` whether they were ever enough."""

    COLUMNS: ClassVar = ("judged_B", "under_B", "fallen_B")

    watch: Watch
    judged_B: Tensor
    under_B: Tensor
    fallen_B: Tensor

    def see(self, token_B: Tensor) -> Tensor:
        """One more token of every row; which rows (B,) are given up now."""
        self.wait(token_B)
        # Each row has its own turn, so that what becomes of it does not hang on when others joined.
        due_B = (self.judged_B + self.waits_BN.sum(1)) % self.watch.every == 0
        if bool(due_B.any()):
            self._read()
        return self.fallen_B & due_B

    def _read(self) -> None:
        rule, (new_BN, mask_BN) = self.watch.rule, self.taken()
        with self.watch.policy.autocast():
            hidden_BND = self.state.read(new_BN, mask_BN)
        q_BN = to_goal(hidden_BND, self.watch.goal_D.to(hidden_BND.device))
        for q_B, is_token_B in zip(q_BN.unbind(1), mask_BN.bool().unbind(1), strict=True):
            self.judged_B = self.judged_B + is_token_B
            counts_B = is_token_B & (self.judged_B > rule.skip)
            self.under_B = torch.where(counts_B, (self.under_B + 1) * (q_B < rule.threshold), self.under_B)
            self.fallen_B = self.fallen_B | (self.under_B >= rule.patience)
