"""Bad rows, recipes and arguments for hypothesis to draw: near to good ones, since what is far off is refused early."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
from dataclasses import dataclass
from typing import Any

import yaml
from hypothesis import strategies as st

from homestretch.config.recipe import DatasetConfig, Recipe
from homestretch.config.stages import STAGES
from homestretch.data.records import COLUMNS

ODD = (
    "", " ", "\n", "\t", "\r", "\x00", "\x1b[31m", "\x85", "\u2028", "\u202e", "\u200b", "\ufeff", "\ud83d", "\udc00",
    "👩‍👩‍👧", "é", "ﬁ", "שלום", "नमस्ते", '"', "'", ",", "\\", "{", "}", "[", "%s", "{0}", "<b>", "null",
    "NaN", "1e999", "a" * 300,
)  # fmt: skip
"""Texts that programs stumble over."""
words = st.lists(st.sampled_from(["the", "cat", "sat.", "1", "No", *ODD]), min_size=1, max_size=6).map(" ".join)
whole = words.filter(lambda text: text.strip() and text == text.encode(errors="ignore").decode())
texts = words | st.sampled_from(ODD) | st.text(max_size=12)
numbers = st.integers(-3, 3) | st.floats() | st.sampled_from([10**400, -(10**20), 2**63, 1e308, 1e-320, 0.1, 4.5e-5])
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.sampled_from(COLUMNS), inner, max_size=3),
    max_leaves=5,
)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system", ""]), "content": texts}), max_size=3
)
other_columns = "promt x text arm prediction predictions terminated tokens kl chosen_rewards".split()
generations = st.fixed_dictionaries(
    {"arm": st.sampled_from(["a", "b"]), "text": words, "prompt": words},
    optional={"references": st.lists(words, max_size=2), "reward": numbers, "terminated": st.booleans(), "id": scalars},
)


@st.composite
def rows(draw: st.DrawFn) -> Any:
    """A row: a good one, one with a column changed, added or lost, or anything."""
    kind = draw(st.sampled_from([*["good"] * 8, "changed", "changed", "chat", "pair", "pair", "generation", "any"]))
    if kind == "any":
        return draw(values)
    if kind == "generation":
        row = draw(generations)
    elif kind == "chat":
        row = {draw(st.sampled_from(["messages", "prompt"])): draw(messages), "completion": draw(texts)}
    else:
        row = {"prompt": draw(whole), ("chosen" if kind == "pair" else "completion"): draw(whole)}
        row |= {"rejected": draw(texts)} if kind == "pair" else {}
    if kind not in ("good", "pair"):
        row[draw(st.sampled_from([*COLUMNS, *other_columns]))] = draw(values)
        row.pop(draw(st.sampled_from([*row, "nothing"])), None)
    return row


@dataclass(frozen=True)
class Table:
    """The bytes of a data file, its ending, and how many rows it has; None where it cannot be read as a whole."""

    ending: str
    data: bytes
    rows: int | None


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """A file of any kind that rows come in."""
    made = draw(st.lists(rows(), max_size=4))
    make = draw(st.sampled_from([_jsonl, _jsonl, _jsonl, _json, _csv, _parquet]))
    return make(draw, made)


def _jsonl(draw: st.DrawFn, made: list[Any]) -> Table:
    lines = [_line(row, draw(st.booleans())) for row in made]
    broken = (
        b"{",
        b'{"prompt": "a"',
        b"\xff\xfe",
        b"[" * 5000,
        b'{"a": ' * 300 + b"1" + b"}" * 300,
        b"9" * 5000,
        b"nan",
        b"  ",
    )
    bad = st.sampled_from(broken) | st.binary(max_size=12)
    for line in draw(st.just([]) | st.lists(bad, max_size=2)):
        lines.insert(draw(st.integers(0, len(lines))), line.replace(b"\n", b""))
    return Table(".jsonl", b"\n".join(lines), sum(_says(line) for line in lines))


def _says(line: bytes) -> bool:
    return bool(line.decode("utf-8-sig", "replace").strip())


def _line(row: Any, ascii_only: bool) -> bytes:
    return json.dumps(row, ensure_ascii=ascii_only).encode(errors="surrogatepass")


def _json(draw: st.DrawFn, made: list[Any]) -> Table:
    text = json.dumps(made, indent=draw(st.sampled_from([None, 1])))
    if draw(st.booleans()):
        return Table(".json", text.encode(), len(made) if _parses(text) else None)
    at = draw(st.integers(0, len(text)))
    broken = text[:at] + draw(st.sampled_from(["", ",", "]", "[" * 3000, "\x00", "9" * 5000])) + text[at + 1 :]
    return Table(".json", broken.encode(), None)


def _parses(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except ValueError:  # a number that is too long for Python
        return False


def _csv(draw: st.DrawFn, made: list[Any]) -> Table:
    plain = [row for row in made if isinstance(row, dict)]
    names = list(dict.fromkeys(name for row in plain for name in row)) or ["prompt", "completion"]
    out = io.StringIO()
    table = csv.writer(out)
    if draw(st.booleans()):
        table.writerow(names)
    table.writerows([_cell(row.get(name)) for name in names] for row in plain)
    data = out.getvalue().encode(errors="surrogatepass")
    at = draw(st.integers(0, len(data)))
    data = data[:at] + draw(st.sampled_from([b"", b"", b'"', b",", b"\n", b"\xff"])) + data[at:]
    return Table(".csv", data, _records(data))


def _records(data: bytes) -> int | None:
    """Lines that say something behind the header."""
    try:
        found = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None
    return sum(bool(record) for record in found[1:])


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else str(value)[:400] if isinstance(value, int) else json.dumps(value)


COLUMNS_OF_PARQUET = st.sampled_from(
    [
        *[("string", ["a", None, "", "b"])] * 6,
        ("int64", [1, None, 2, -3]),
        ("double", [0.5, float("nan"), None, float("inf")]),
        ("binary", [b"a", b"\xff", None, b""]),
        ("bool_", [True, None, False, True]),
        ("date32", [datetime.date(2020, 1, 1), None, datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
        ("list", [["a"], [], None, ["", "b"]]),
        ("struct", [{"a": 1.0}, None, {"a": None}, {"a": 2.0}]),
        ("messages", [[{"role": "user", "content": "a"}], [], None, [{"role": "assistant", "content": "b"}]]),
        ("far date", [10**9, 0, None, -(10**9)]),
        ("ns", [1, 10**18, None, 1_500]),
    ]
)


def _parquet(draw: st.DrawFn, made: list[Any]) -> Table:
    import pyarrow
    import pyarrow.parquet

    types = {"far date": pyarrow.date32(), "ns": pyarrow.timestamp("ns")}
    names = draw(st.lists(st.sampled_from([*COLUMNS, "x"]), min_size=1, max_size=4, unique=True))
    columns = {}
    for name in names:
        kind, cells = draw(COLUMNS_OF_PARQUET)
        columns[name] = pyarrow.array(cells, types.get(kind))
    out = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), out)
    data = bytearray(out.getvalue().to_pybytes())
    if draw(st.integers(0, 3)):
        return Table(".parquet", bytes(data), 4)
    return Table(".parquet", bytes(data[: draw(st.integers(0, len(data) - 1))]), None)


SNIPPETS = (
    "!!bool x", "!!timestamp no", "!!int [1]", "!!float {a: 1}", "!!binary '='", "!!set {a}", "&a [*a]", "*b", "<<: 3",
    "<<: [1]", "{<<: *x}", "? [a]", "a: b: c", "\t- x", "- - -", "'", '"', '"\\ud800"', '"\\0"', "|", ">",
    "%YAML 9", "---", "[" * 2000, "9" * 5000, "1e999", "-0", "~: 1", "1: 2", "true: 1", "@", "`", "sft", "{sft: }",
    "{sft: 1}", "[ppo, ppo]",
)  # fmt: skip


LISTS = (
    ["sft", "evaluate", "report"], ["sft", "negatives", "reward", "ppo", "evaluate"], ["negatives", "reward", "rloo"],
    ["ift", "dpo"], ["wbc", "gold"], ["negatives", "reward", "value", "alol"], ["sft", "grpo-2"], ["modpo"],
    ["distill"], ["soup"], ["best_of", "evaluate"], [],
)  # fmt: skip


@st.composite
def recipes(draw: st.DrawFn) -> bytes:
    """A recipe as bytes: a possible one with a few settings of any kind, its text perhaps damaged; or anything."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode(errors="surrogatepass")))
    shared = draw(_settings(Recipe, "sed"))
    if draw(st.booleans()):
        shared["dataset"] = draw(_settings(DatasetConfig, "nme"))
    shared["stages"] = [draw(_stage(name)) for name in draw(st.sampled_from(LISTS))]
    text = yaml.safe_dump(shared, allow_unicode=True)
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(SNIPPETS) | texts) + text[at + draw(st.integers(0, 2)) :]
    return text.encode(errors="surrogatepass")


anything = scalars | st.sampled_from(["builtin/docstrings", "auto", "sft", "evaluate", "all"]) | values


@st.composite
def _settings(draw: st.DrawFn, kind: Any, unknown: str) -> dict[str, Any]:
    """None, one or two settings of a class: mostly such as it has by default."""
    names = [*getattr(kind, "model_fields", {})]
    found = {}
    for name in draw(st.lists(st.sampled_from([*names * 4, unknown]), max_size=2)):
        usual = kind.model_fields[name].get_default(call_default_factory=True) if name in names else None
        known = isinstance(usual, bool | int | float | str | list | dict) and draw(st.integers(0, 7)) > 0
        found[name] = usual if known else draw(anything)
    return json.loads(json.dumps(found, default=str))


@st.composite
def _stage(draw: st.DrawFn, name: str) -> Any:
    """A stage, mostly as it may be written."""
    settings = draw(_settings(STAGES[name.split("-")[0]], "lerning_rate"))
    named = draw(st.sampled_from([name] * 40 + ["sfd", ""]))
    return draw(st.sampled_from([{named: settings}] * 8 + [named] * 20 + [{named: None}, {named: 3}]))


def _is_argument(text: str) -> bool:
    """Whether a system hands it to a process."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


arguments = (texts | numbers.map(str) | st.just("\udcff")).filter(_is_argument)
overrides = st.builds(
    lambda key, value: f"{key}={value}",
    st.sampled_from(["seed", "sft.max_steps", "dataset.name", "ppo.rewards.x", "stages", "a.b", "", ".", "sft"]),
    st.sampled_from(SNIPPETS) | arguments,
)
