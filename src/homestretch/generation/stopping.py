"""Stop strings: a row ends with the token that completes one of them, however the string falls on tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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

    def completes(self, tail: list[int], token: int) -> bool:
        """Append a token to the last ones of a row; whether the row's text has a stop string now.

        The tail is cut to what can still be part of one, so that decoding it costs the same at every step.
        """
        tail.append(token)
        text = self.decode(tail)
        if self.found(text):
            return True
        if len(text) >= 2 * self.reach and len(self.decode(tail[len(tail) // 2 :])) >= self.reach:
            del tail[: len(tail) // 2]
        return False
