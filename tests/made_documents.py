"""Documents with one-line summaries, made by rule, and examples of any text: what tests of negatives work on."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

from homestretch.data.records import Example

_DEEDS = [
    ("Return", "the {kind} {thing} of the table", "the table is searched row by row, and ties go to the first row"),
    ("Remove", "every {kind} {thing} from the cache", "stale members are dropped; the others keep their place"),
    ("Write", "the {thing} to `{code}`", "the file is replaced only when all of it has reached the disk"),
    ("Close", "the {thing} before {name} starts", "nothing is read afterwards, and errors are kept for the caller"),
    ("Sort", "the {thing} by its first column", "equal keys stay in the order in which they came"),
    ("Split", "a {thing} into {number} parts", "the last part may be shorter than those before it"),
]
_THINGS = ["window", "socket", "matrix", "sentence", "token", "invoice", "package", "polygon"]
_KINDS = "old broken green local heavy secret frozen hollow rapid empty public narrow dusty double".split()
_NAMES = ["Berlin", "Ada Lovelace", "NASA", "Mount Kenya", "UTF", "Lisbon"]
_CODES = ["out_file", "log.path", "maxRows", "row_count"]


def documents() -> list[Example]:
    """48 examples: each summary has a verb, an object and a connector; some have a name, an identifier or a number."""
    made = []
    for i, ((verb, rest, body), thing) in enumerate(itertools.product(_DEEDS, _THINGS)):
        parts = {"thing": thing, "name": _NAMES[i % 6], "code": _CODES[i % 4], "number": 3 + i, "kind": _KINDS[i % 14]}
        summary = f"{verb} {rest.format(**parts)}."
        made.append(example(f"d{i}", f"For a {thing} and its neighbours: {body}. Number {i} of its kind.", summary))
    return made


def example(key: str, source: str, *references: str) -> Example:
    """An example of plain text."""
    prompt, completion = f"{source}\nSummary:", f" {references[0]}"
    return Example(key, prompt, completion, tuple(references), source, where=f"{key}:1", columns={})


_ANY = st.text(max_size=60)
_SOME = st.text(min_size=1, max_size=60).filter(str.strip)
_WORDS = st.lists(
    st.sampled_from("a the Return of 3 1,000 UTF x_y Über 東京 é. no, `k` first without".split()), min_size=1
).map(" ".join)


@st.composite
def any_examples(draw: st.DrawFn) -> list[Example]:
    """Up to six examples of arbitrary text in any script, sources possibly empty."""
    rows = draw(
        st.lists(st.tuples(_ANY | _WORDS, st.lists(_SOME | _WORDS, min_size=1, max_size=2)), min_size=1, max_size=6)
    )
    return [example(str(i), source, *references) for i, (source, references) in enumerate(rows)]
