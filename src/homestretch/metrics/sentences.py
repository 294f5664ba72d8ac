"""Words and sentences by rule: enough to judge and to trim outputs, with no model and no download."""

from __future__ import annotations

import re
from functools import lru_cache

from homestretch.metrics.scripts import CHARACTER, MARKS, UNSPACED

APOSTROPHES = "'\u2019"
_RUN, _SPACED = rf"\w[\w{MARKS}]*", rf"(?:[^\W{UNSPACED}][{MARKS}]*)+"
_WORD = re.compile(rf"{_RUN}(?:[{APOSTROPHES}]{_RUN})*")
_COUNTED = re.compile(rf"{CHARACTER}|{_SPACED}(?:[{APOSTROPHES}]{_SPACED})*")
_STOPS = "\u3002\uff01\uff1f"  # full-width . ! ?, which need no white space behind them
_CLOSERS = re.escape("\"'\u201d\u2019)]}\u00bb*`")
_OPENERS = "([\"'\u201c\u2018"
_END = re.compile(rf"[.!?\u2026]+[{_CLOSERS}]*(?=\s|$)|[{_STOPS}]+[{_CLOSERS}]*")
_FINISHED = re.compile(rf"[.!?\u2026{_STOPS}][{_CLOSERS}]*\s*$")
_SHORT = frozenset(
    "al approx ca cf dr eq eqs etc fig figs inc jr ltd mr mrs ms no nos pp prof resp sec st vol vs".split()
)


def plain(text: str) -> str:
    """The text with typewriter apostrophes: how one is set makes no other word."""
    return text.replace("\u2019", "'")


@lru_cache(maxsize=32768)
def words(text: str) -> tuple[str, ...]:
    """Lower-case words: runs of letters and digits of any script, inner apostrophes and the letters' marks kept."""
    return tuple(_WORD.findall(plain(text).lower()))


@lru_cache(maxsize=32768)
def counted_words(text: str) -> tuple[str, ...]:
    """The same where words are counted: each character by itself in scripts that are written without spaces."""
    return tuple(_COUNTED.findall(plain(text).lower()))


def sentences(text: str) -> list[str]:
    """Sentences of `text` without the white space around them; the last one may be unfinished.

    A sentence ends at `.`, `!`, `?` or an ellipsis with any closing quotes or brackets before white space, unless the
    full stop belongs to an abbreviation or an initial.
    """
    found, start = [], 0
    for end in _END.finditer(text):
        if end.group().startswith(".") and _abbreviated(text[start : end.start()]) and end.end() < len(text.rstrip()):
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    return [s for s in [*found, text[start:].strip()] if s]


def is_finished(sentence: str) -> bool:
    """True where the text ends as a sentence does."""
    return _FINISHED.search(sentence) is not None


def _abbreviated(before: str) -> bool:
    last = before.split()[-1] if before.split() else ""
    bare = last.lstrip(_OPENERS)
    initial = len(bare) == 1 and bare.isupper()
    return initial or bare.lower() in _SHORT or ("." in bare.strip(".") and not bare[-1:].isdigit())
