"""Names, identifiers and numbers of a text, found by their spelling."""

from __future__ import annotations

import random
import re
from collections.abc import Container, Iterator
from typing import NamedTuple

_CODE = {
    "quoted": re.compile(r"`[^`\s]+`"),
    "dotted": re.compile(r"(?<![\w.])[A-Za-z_]\w+(?:\.[A-Za-z_]\w+)+(?!\w)"),
    "snake": re.compile(r"(?<![\w.])\w*[^\W_]_[^\W_]\w*(?!\w)"),
    "camel": re.compile(r"(?<![\w.])(?:[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*)(?!\w)"),
}
_NUMBER = re.compile(r"(?<![\w.,-])\d+(?:[.,]\d+)*(?![\w])")
_ACRONYM = re.compile(r"(?<![\w-])[A-Z][A-Z\d]+s?(?![\w-])")
_NAME = re.compile(r"(?<![\w`])[^\W\d_a-z][a-zß-ÿ]+(?:[ ](?:of |de |the )?[^\W\d_a-z][\w-]+)*")


class Entity(NamedTuple):
    """A name as it stands in the text, and its type: `number`, `acronym`, `name`, or the spelling of an identifier."""

    text: str
    type: str


def entities(text: str, names: Container[str]) -> list[Entity]:
    """Entities in order, none overlapping; identifiers come before names, names before numbers.

    `names`: words whose capital means a name even where it starts a sentence.
    """
    taken: list[tuple[int, int, Entity]] = []
    for start, found in _candidates(text, names):
        end = start + len(found.text)
        if all(end <= a or b <= start for a, b, _ in taken):
            taken.append((start, end, found))
    return [entity for _, _, entity in sorted(taken)]


def perturbed(number: str, rng: random.Random) -> str:
    """Another number with as many decimals, off by 10 to 60 per cent, a year by up to 30; of other forms one digit."""
    whole, point, decimals = number.partition(".")
    if not (whole.isascii() and whole.isdigit()) or (point and not decimals.isdigit()) or len(number) > 15:
        digits = [i for i, c in enumerate(number) if c in "123456789"]
        if not digits:
            return ""
        i = rng.choice(digits)
        return number[:i] + rng.choice([c for c in "123456789" if c != number[i]]) + number[i + 1 :]
    value = int(whole + decimals)
    is_year = not point and len(whole) == 4 and whole[0] in "12"
    step = rng.randint(1, 30) if is_year else max(1, round(value * rng.uniform(0.1, 0.6)))
    moved = str(value + step if value < step or rng.random() < 0.5 else value - step).zfill(len(decimals) + 1)
    return moved[: len(moved) - len(decimals)] + point + moved[len(moved) - len(decimals) :]


def _candidates(text: str, names: Container[str]) -> Iterator[tuple[int, Entity]]:
    for spelling, pattern in _CODE.items():
        for m in pattern.finditer(text):
            yield m.start(), Entity(m.group(), spelling)
    for m in _ACRONYM.finditer(text):
        yield m.start(), Entity(m.group(), "acronym")
    for m in _NAME.finditer(text):
        start, name = m.start(), m.group()
        if starts_sentence(text, start) and name.split(" ")[0] not in names:
            first, _, name = name.partition(" ")
            start += len(first) + 1
        if name and name[0].isupper():
            yield start, Entity(name, "name")
    for m in _NUMBER.finditer(text):
        yield m.start(), Entity(m.group(), "number")


def starts_sentence(text: str, start: int) -> bool:
    """True where only the end of another sentence, or nothing, stands before this place."""
    before = text[:start].rstrip(" \"'(`\u201c\u2018")
    return not before or before[-1] in ".!?:;\n"
