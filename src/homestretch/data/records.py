"""One row of data, checked: the formats of TRL plus a few columns of ours.

    text or chat     `prompt` + `completion`, `prompt` + `chosen` + `rejected`, or `messages` (the last one answers)
    also             `references` (list of strings; alone beside `prompt` its first is the completion), `document` (the
                     text that the answer is about, without scaffolding), `reward`, `margin` (numbers), `rewards`
                     (name -> number; of either side `chosen_rewards`, `rejected_rewards`), `failure_mode`, `id`,
                     `terminated` (of either side `chosen_terminated`, `rejected_terminated`; true or false); any other
                     column is kept as it is

Every problem is a DataError of one sentence that starts with `file:line`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from homestretch.config.base import nearest
from homestretch.errors import DataError

Text = str | list[dict[str, Any]]

COLUMNS = ("prompt", "completion", "messages", "chosen", "rejected", "references", "document", "id", "reward",
           "rewards", "margin", "failure_mode")  # fmt: skip
"""Columns with a meaning of ours."""

ENDED = ("terminated", "chosen_terminated", "rejected_terminated")
"""Columns that say, true or false, whether an answer ended by itself."""

_CONSUMED = {"id", "prompt", "completion", "messages", "references", "document"}


@dataclass(frozen=True)
class Example:
    """A prompt with its answer.

    `prompt` and `completion` are both text, or both chat messages. `references` holds the completion's text first,
    then the other references. `source` is the document without prompt scaffolding. `where` is `file:line`.
    `columns` has everything else, `chosen` and `rejected` included.
    """

    id: str
    prompt: Text
    completion: Text
    references: tuple[str, ...]
    source: str
    where: str
    columns: dict[str, Any]


def prompt_text(example: Example) -> str:
    """The prompt as one text; of chat messages the contents, one a line."""
    return _plain(example.prompt)


def prompt_key(example: Example) -> str:
    """What rows of one prompt have in common: its text, white space around it aside."""
    return prompt_text(example).strip()


def with_all_references(examples: Iterable[Example]) -> list[Example]:
    """The examples, each with the references of all that have its prompt, its own first: an answer that is right in one
    row is not wrong in another."""
    examples = list(examples)
    known: dict[str, dict[str, None]] = {}
    for e in examples:
        known.setdefault(prompt_key(e), {}).update(dict.fromkeys(e.references))
    return [replace(e, references=tuple(dict.fromkeys((*e.references, *known[prompt_key(e)])))) for e in examples]


def completion_text(example: Example) -> str:
    """The completion as one text."""
    return _plain(example.completion)


def example_from_row(row: Any, *, where: str) -> Example:
    """Check one raw row. Columns that are None count as absent. Raises DataError."""
    if not isinstance(row, Mapping):
        raise DataError(
            f'{where}: a row must be an object such as {{"prompt": ..., "completion": ...}}, not {_kind(row)}.'
        )
    row = {str(k): v for k, v in row.items() if v is not None}
    check_text(row, where)
    references = _references(row, where)
    prompt, completion = _prompt_and_completion(row, references, where)
    columns = {k: v for k, v in row.items() if k not in _CONSUMED and (k, v) != ("failure_mode", "")}
    columns |= _numbers(row, where)
    if "rejected" in row:
        columns["chosen"] = completion
        columns["rejected"] = _answer(row["rejected"], prompt, "rejected", where, may_be_empty=True)
    for name in ("document", "failure_mode"):
        if name in row and not isinstance(row[name], str):
            raise DataError(f"{where}: `{name}` is {_kind(row[name])}; make it a string.")
    for name in ENDED:
        if name in row and not isinstance(row[name], bool):
            raise DataError(f"{where}: `{name}` = {row[name]!r:.80} is not true or false; correct the row.")
    text = _plain(completion)
    return Example(
        id=str(row.get("id", PurePath(where).name)),
        prompt=prompt,
        completion=completion,
        references=(text, *dict.fromkeys(r for r in references if r != text)),
        source=row.get("document") or _document(prompt),
        where=where,
        columns=columns,
    )


def check_text(value: Any, where: str) -> None:
    """Raise DataError where a text in the value, a key included, has half of a surrogate pair, which is no text."""
    rest, texts = [value], []
    while rest:
        part = rest.pop()
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping):
            rest += [*part, *part.values()]
        elif isinstance(part, list):
            rest += part
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise DataError(f"{where}: `{half}` is half of a character; write the other half too, or remove it.") from None


def side(pair: Example, name: str) -> Example:
    """One answer of a preference row, `chosen` or `rejected`, as an example of its own. Columns that start with that
    name and `_` lose it: `chosen_rewards` are the `rewards` of the chosen answer."""
    own = {key.removeprefix(f"{name}_"): v for key, v in pair.columns.items() if key.startswith(f"{name}_")}
    return replace(pair, completion=pair.columns[name], columns=pair.columns | own)


def cued(example: Example, suffix: str) -> Example:
    """The example with `suffix` behind its prompt, if that is text. What the answer is about (`source`) stays."""
    if not suffix or not isinstance(example.prompt, str):
        return example
    return replace(example, prompt=example.prompt + suffix)


def _prompt_and_completion(row: dict[str, Any], references: list[str], where: str) -> tuple[Text, Text]:
    if "prompt" not in row and "messages" in row:
        return _split_messages(row["messages"], where)
    if "prompt" not in row:
        raise _missing("prompt", row, where)
    prompt = _text(row["prompt"], "prompt", where)
    for name in ("completion", "chosen"):
        if name in row:
            if name == "chosen" and "rejected" not in row:
                raise _missing("rejected", row, where)
            return prompt, _answer(row[name], prompt, name, where)
    if references:
        return prompt, _answer(references[0], prompt, "references", where)
    raise _missing("chosen" if "rejected" in row else "completion", row, where)


def _split_messages(messages: Any, where: str) -> tuple[Text, Text]:
    checked = _text(messages, "messages", where)
    if isinstance(checked, str):
        raise DataError(
            f"{where}: `messages` is a string; make it a list of {{role, content}}, or name the column `prompt`."
        )
    if checked[-1]["role"] != "assistant":
        raise DataError(
            f"{where}: the last of `messages` is by `{checked[-1]['role']}`; end with the assistant's answer."
        )
    if len(checked) < 2:
        raise DataError(f"{where}: `messages` has only the answer; put the user's message before it.")
    if not checked[-1]["content"].strip():
        raise DataError(f"{where}: the last of `messages` is empty; give it a text, or drop the row.")
    return _text(checked[:-1], "messages", where), checked[-1:]


def _text(value: Any, name: str, where: str, *, may_be_empty: bool = False) -> Text:
    """A string, or a list of messages of which at least one has content."""
    if isinstance(value, str):
        if value.strip() or may_be_empty:
            return value
        raise DataError(f"{where}: `{name}` is empty; give it a text, or drop the row.")
    if not isinstance(value, list):
        raise DataError(f"{where}: `{name}` is {_kind(value)}; make it a string or a list of messages.")
    messages = [_message(m, name, where) for m in value]
    if not (may_be_empty or any(m["content"].strip() for m in messages)):
        raise DataError(f"{where}: `{name}` is empty; give it a text, or drop the row.")
    return messages


def _message(value: Any, name: str, where: str) -> dict[str, Any]:
    if not (isinstance(value, Mapping) and all(isinstance(value.get(k), str) for k in ("role", "content"))):
        raise DataError(
            f'{where}: a message of `{name}` must be {{"role": string, "content": string}}; correct the row.'
        )
    return {k: v for k, v in value.items() if v is not None}


def _answer(value: Any, prompt: Text, name: str, where: str, *, may_be_empty: bool = False) -> Text:
    """The answer in the shape of its prompt: a text answers messages as the assistant."""
    answer = _text(value, name, where, may_be_empty=may_be_empty)
    if isinstance(answer, str):
        return answer if isinstance(prompt, str) else [{"role": "assistant", "content": answer}]
    if isinstance(prompt, str):
        raise DataError(f"{where}: `prompt` is text but `{name}` is messages; make both text or both messages.")
    if len(answer) != 1 or answer[0]["role"] != "assistant":
        raise DataError(f"{where}: `{name}` must be a single message by `assistant`; move the others to `prompt`.")
    return answer


def _references(row: dict[str, Any], where: str) -> list[str]:
    value = row.get("references", [])
    if not isinstance(value, list) or not all(isinstance(r, str) for r in value):
        raise DataError(f"{where}: `references` must be a list of strings; correct the row.")
    if not all(r.strip() for r in value):
        raise DataError(f"{where}: `references` has an empty text; remove it from the list.")
    return value


def _numbers(row: dict[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {k: _number(row[k], k, where) for k in ("reward", "margin") if k in row}
    if "rewards" in row and not isinstance(row["rewards"], Mapping):
        raise DataError(f"{where}: `rewards` is {_kind(row['rewards'])}; make it an object of names and numbers.")
    for name in ("rewards", "chosen_rewards", "rejected_rewards"):
        if isinstance(row.get(name), Mapping):
            found[name] = {k: _number(v, f"{name}.{k}", where) for k, v in row[name].items() if v is not None}
    return found


def _number(value: Any, name: str, where: str) -> float:
    """A finite number, also where a CSV file has it as text."""
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: `{name}` = {value!r:.80} is not a finite number; correct it, or remove the column.")
    return number


def _missing(name: str, row: dict[str, Any], where: str) -> DataError:
    others = [c for c in row if c not in _CONSUMED | {"chosen", "rejected"}] or list(row)
    hint = nearest(name, others).replace("known are", "the row has").rstrip(".") if row else "the row is empty"
    return DataError(
        f"{where}: there is no column `{name}` ({hint}); rename one, or map it with columns.{name}=ITS_NAME."
    )


def _plain(text: Text) -> str:
    return text if isinstance(text, str) else "\n".join(m["content"] for m in text)


def _document(prompt: Text) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\n".join(m["content"] for m in prompt if m["role"] == "user") or _plain(prompt)


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), f"of type {type(value).__name__}")
