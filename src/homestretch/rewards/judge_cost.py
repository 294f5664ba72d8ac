"""What asking a judge is expected to take, said before it starts.

    tokens read    = characters of all requests / 4          tokens written = answers min(60, max_tokens)
    cost           = (read input_price + written output_price) / 10^6

Four characters a token is common for English; answers of one sentence and a number have about 60 tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from homestretch.config.extractors import JudgeConfig
from homestretch.rewards.judge_prompts import messages

CHARACTERS_PER_TOKEN = 4
ANSWER_TOKENS = 60


@dataclass(frozen=True)
class Estimate:
    """Answers to ask for, those that are known already, and tokens; `cost` in the unit of the prices, None without."""

    answers: int
    known: int
    read: float
    written: float
    cost: float | None

    def __add__(self, other: Estimate) -> Estimate:
        """Both; a cost only where both have one."""
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Estimate(
            self.answers + other.answers,
            self.known + other.known,
            self.read + other.read,
            self.written + other.written,
            cost,
        )

    def __str__(self) -> str:
        tokens = f"about {self.read:,.0f} tokens to read and {self.written:,.0f} to write"
        cost = "" if self.cost is None else f", about {self.cost:.2f} by the prices given"
        return f"{self.answers:,} answers to ask for ({self.known:,} are known), {tokens}{cost}"


def estimate(config: JudgeConfig, asked: Iterable[tuple[str, str]], *, known: int) -> Estimate:
    """What answers about these documents and texts are expected to take, an entry for each answer."""
    lengths = [sum(len(m["content"]) for m in messages(config, *pair)) for pair in asked]
    read = sum(lengths) / CHARACTERS_PER_TOKEN
    written = float(len(lengths) * min(ANSWER_TOKENS, config.max_tokens))
    cost = None
    if config.input_price is not None and config.output_price is not None:
        cost = (read * config.input_price + written * config.output_price) / 1e6
    return Estimate(len(lengths), known, read, written, cost)
