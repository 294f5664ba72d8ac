"""Post-processing of outputs as named steps  (section 2.9 of the last-mile sheet)

    end_marker   cut at the first end string or blank line
    tail         drop an unfinished last sentence
    dedupe       drop sentences that were there before

`"A b. C d. A b. E f"` becomes `"A b. C d. A b."` by `tail` and `"A b. C d."` by `tail` and `dedupe`. An output that is
one unfinished sentence stays: a step never makes an output empty. The published form is not known; this is a reading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from homestretch.config.base import nearest
from homestretch.errors import RecipeError
from homestretch.metrics.sentences import is_finished, sentences, words

END_STRINGS = ("</s>", "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<eos>", "[EOS]")


def end_marker(text: str, end_strings: Iterable[str] = END_STRINGS) -> str:
    """`text` up to the first end string or the first blank line after its start."""
    for end in end_strings:
        text = text.split(end, 1)[0]
    return re.split(r"\n[^\S\n]*\n", text.strip(), maxsplit=1)[0].rstrip()


def tail(text: str) -> str:
    """`text` without an unfinished last sentence; unchanged if there is no finished one."""
    parts = sentences(text)
    if len(parts) < 2 or is_finished(parts[-1]):
        return text
    return text[: text.rindex(parts[-1])].rstrip()


def dedupe(text: str) -> str:
    """`text` without sentences seen before (same words in the same order); what stays is joined by single spaces."""
    parts = sentences(text)
    first = {words(part) or (part,): part for part in reversed(parts)}
    kept = [part for part in parts if first.pop(words(part) or (part,), None) is not None]
    return text if len(kept) == len(parts) else " ".join(kept)


STEPS: Mapping[str, Callable[[str], str]] = {"end_marker": end_marker, "tail": tail, "dedupe": dedupe}


def postprocess(text: str, steps: Sequence[str] = tuple(STEPS)) -> str:
    """Apply the named steps in the given order. Raises RecipeError for a name that does not exist."""
    for name in steps:
        if name not in STEPS:
            raise RecipeError(f"post-processing: unknown step `{name}`; {nearest(name, list(STEPS))}")
        text = STEPS[name](text)
    return text


def postprocess_row(row: Mapping[str, Any], *, arm: str, steps: Sequence[str] = tuple(STEPS)) -> dict[str, Any]:
    """A generation row of another arm: `text` post-processed, everything else as in `row`.

    `terminated` becomes True where the new text ends as a sentence does: a reader sees an output that ends.
    `tokens` shrinks in proportion to the characters, since there is no tokenizer here. Rewards and divergence
    belonged to the raw text and become None where the text changed.
    """
    text = postprocess(row["text"], steps)
    if text == row["text"]:
        return {**row, "arm": arm}
    tokens = round(row["tokens"] * len(text) / len(row["text"]))
    return {
        **row,
        "arm": arm,
        "text": text,
        "tokens": tokens,
        **dict.fromkeys(key for key in ("reward", "rewards", "kl") if key in row),
        "terminated": bool(row["terminated"]) or is_finished(text),
    }
