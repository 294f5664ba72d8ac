"""Typed failure modes made from (prompt, completion) pairs: what a reward model learns to tell from references.

`CORRUPTIONS` is the table of classes; the names are the values of `failure_mode`. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from homestretch.config.base import nearest
from homestretch.errors import RecipeError
from homestretch.negatives import actions, context, facts, surface
from homestretch.negatives.base import Corruption, Negative
from homestretch.negatives.corpus import Corpus
from homestretch.negatives.sampled import Sample, Thresholds, mine, mined

__all__ = [
    "CORRUPTIONS",
    "MINED",
    "Corpus",
    "Corruption",
    "Entry",
    "Negative",
    "Sample",
    "Thresholds",
    "corruptions",
    "mine",
]


class Entry(NamedTuple):
    """A class of negatives: what makes it of a corpus, and what it is in a phrase."""

    factory: Callable[[Corpus], Corruption]
    description: str


CORRUPTIONS: dict[str, Entry] = {
    "random": Entry(surface.random_tokens, "meaningless tokens"),
    "irrelevant": Entry(context.irrelevant, "another document's reference"),
    "shuffled": Entry(surface.shuffled, "the reference's words in disorder"),
    "repetitive": Entry(surface.repetitive, "words, phrases or all of it over and over"),
    "copy": Entry(context.copy, "the document instead of an answer"),
    "run_on": Entry(surface.run_on, "broken off, or never ended"),
    "swapped": Entry(facts.swapped, "names and numbers that are not in the document"),
    "near_miss": Entry(context.near_miss, "the reference of a document about nearly the same"),
    "spliced": Entry(context.spliced, "starts as the reference, ends as another one"),
    "action": Entry(actions.action, "does something else, or does it to something else"),
    "roles": Entry(actions.roles, "two phrases of the reference in each other's place"),
    "opposite": Entry(facts.opposite, "one word turned into its opposite"),
}
"""The classes that need nothing but a corpus."""

MINED = "mined"
"""The class that needs samples of a model as well: its own bad answers."""


def corruptions(
    names: Iterable[str], corpus: Corpus, *, kept: Mapping[str, Sequence[Negative]] | None = None
) -> dict[str, Corruption]:
    """The named corruptions. `kept`: bad samples by example id, from `mine`; without them `mined` is left out.

    Raises RecipeError for a name that is not in the table.
    """
    made: dict[str, Corruption] = {}
    for name in names:
        if name == MINED:
            if kept is not None:
                made[name] = mined(kept)
        elif name in CORRUPTIONS:
            made[name] = CORRUPTIONS[name].factory(corpus)
        else:
            raise RecipeError(f"negatives: there is no class `{name}`; {nearest(name, [*CORRUPTIONS, MINED])}")
    return made
