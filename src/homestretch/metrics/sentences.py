"""Words and sentences by rule: enough to judge and to trim outputs, with no model and no download."""

from __future__ import annotations

import re
from functools import lru_cache

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_CLOSERS = "\"'”’)]}»*`"
_END = re.compile(rf"[.!?…。！？]+[{re.escape(_CLOSERS)}]*(?=\s|$)|[。！？]")
_SHORT = frozenset(
    "al approx ca cf dr eq eqs etc fig figs inc jr ltd mr mrs ms no nos pp prof resp sec st vol vs".split()
)


@lru_cache(maxsize=32768)
def words(text: str) -> tuple[str, ...]:
    """Lower-case words: runs of letters and digits of any script, inner apostrophes kept."""
    return tuple(_WORD.findall(text.lower()))


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
    return bool(re.search(rf"[.!?…。！？][{re.escape(_CLOSERS)}]*\s*$", sentence))


def _abbreviated(before: str) -> bool:
    last = before.split()[-1] if before.split() else ""
    bare = last.lstrip("([\"'“‘")
    initial = len(bare) == 1 and bare.isupper()
    return initial or "." in bare.strip(".") and not bare[-1:].isdigit() or bare.lower() in _SHORT
