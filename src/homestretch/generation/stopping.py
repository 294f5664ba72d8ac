"""Stop strings: a row ends with the token that completes one of them, however the string falls on tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

UNFINISHED = 4
"""Characters that a text may lose when its last token is followed by others: parts of a character are shown as one
mark each until it is whole."""


class StopStrings:
    """Strings that end a response. `decode` gives the text of token ids as the caller will read it.

    The ids of a response that was stopped end with the token that completed the string, and it counts as terminated;
    `cut` gives its text, which ends before the string.
    """

    def __init__(self, strings: Sequence[str], decode: Callable[[list[int]], str]) -> None:
        if not strings or not all(strings):
            raise ValueError("stop strings must have characters: an empty one would end every response at once")
        self.strings, self.decode = tuple(strings), decode
        self.reach = max(len(s) for s in strings) + UNFINISHED

    def found(self, text: str) -> bool:
        """Whether the text has one of the strings."""
        return any(s in text for s in self.strings)

    def cut(self, text: str) -> str:
        """The text before the first of the strings that it has, or all of it."""
        return text[: min((at for s in self.strings if (at := text.find(s)) >= 0), default=None)]


@dataclass
class Tail:
    """The last tokens of one row: enough to see a stop string, few enough that decoding them again at every step
    costs the same at every step."""

    stop: StopStrings
    ids: list[int] = field(default_factory=list)

    def completes(self, token: int) -> bool:
        """Append a token; whether the row's text now has a stop string."""
        self.ids.append(token)
        text = self.stop.decode(self.ids)
        if self.stop.found(text):
            return True
        if len(text) >= 2 * self.stop.reach:
            half = self.ids[len(self.ids) // 2 :]
            if len(self.stop.decode(half)) >= self.stop.reach:
                self.ids = half
        return False
