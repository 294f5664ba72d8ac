"""What the workers of TRL count."""

from __future__ import annotations

import time

from transformers import TrainerCallback


class Watch(TrainerCallback):
    """Real tokens and time at the end of each step."""

    def __init__(self) -> None:
        self.tokens: list[float] = []
        self.seconds: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        """Note the time."""
        self.seconds.append(time.perf_counter())

    def on_log(self, _args: object, _state: object, _control: object, logs: dict[str, float], **__: object) -> None:
        """Note the trainer's own count."""
        if "num_tokens" in logs:
            self.tokens.append(logs["num_tokens"])
