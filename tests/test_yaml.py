"""Strict YAML: which values come out, which lines are named, and that dumping is the inverse of loading."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from homestretch.config.yaml import dump_text, inline, load_file, load_text
from homestretch.errors import RecipeError


def value(text: str) -> object:
    return load_text(f"key: {text}", name="r.yaml").values["key"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-5", 1e-5), ("1E5", 1e5), ("-2.5e+3", -2500.0), (".5", 0.5), ("1.", 1.0),
        ("3", 3), ("-3", -3), ("010", 10), ("1_000", 1000),
        ("true", True), ("False", False), ("off", "off"), ("no", "no"), ("yes", "yes"), ("on", "on"),
        ("null", None), ("~", None), ("", None), ("none", "none"),
        ("2024-01-01", "2024-01-01"), ("1:30", "1:30"), (".nan", ".nan"), ("1e", "1e"), ("0x1f", "0x1f"),
        ("'1e-5'", "1e-5"), ("[1, {a: b}]", [1, {"a": "b"}]),
    ],
)  # fmt: skip
def test_plain_values(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_every_key_has_its_line() -> None:
    text = "seed: 1\n\nstages:\n  - sft:\n      learning_rate: 1\n  - ppo: {kl: off}\n"
    document = load_text(text, name="r.yaml")
    assert document.where(("seed",)) == "r.yaml:1"
    assert document.where(("stages", 0, "sft", "learning_rate")) == "r.yaml:5"
    assert document.where(("stages", 1, "ppo", "kl")) == "r.yaml:6"
    assert document.where(("stages", 0, "sft", "absent")) == "r.yaml:4"
    assert document.where(("absent",)) == "r.yaml"


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", "r.yaml:3: ", "`a` was given before, on line 1"),
        ("a:\n  b: 1\n  b: 2\n", "r.yaml:3: ", "`b` was given before, on line 2"),
        ("- {a: 1, a: 2}\n", "r.yaml:1: ", "`a` was given before"),
        ("a: 1\nb: [1\n", "r.yaml:3: ", "not valid YAML"),
        ("a: 1\n\tb: 2\n", "r.yaml:2: ", "not valid YAML"),
        ("a: 1\n---\nb: 1\n", "r.yaml:2: ", "another document"),
        ("a: !!python/object/apply:os.getcwd []\n", "r.yaml:1: ", "not valid YAML"),
        ("a: 1\nb: &x [*x]\n", "r.yaml:2: ", "contains itself"),
        ("a: 1\n? [b]\n: 2\n", "r.yaml:2: ", "a key must be a plain name"),
        ("a: 1\nb: !!int many\n", "r.yaml:2: ", "not valid YAML: `tag:yaml.org,2002:int` is a tag"),
        ("a: !!bool x\n", "r.yaml:1: ", "not valid YAML"),
        ("a: !!timestamp no\n", "r.yaml:1: ", "not valid YAML"),
        ("a: !!int [1]\n", "r.yaml:1: ", "not valid YAML"),
        ("a: '\0'\n", "r.yaml", "not valid YAML"),
        ("[" * 3000, "r.yaml", "nested too deeply"),
    ],
)
def test_bad_yaml_is_one_sentence_with_its_line(text: str, place: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_text(text, name="r.yaml")
    message = str(caught.value)
    assert message.startswith(place)
    assert says in message
    assert "\n" not in message


def test_nested_aliases_do_not_explode() -> None:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 40)]
    document = load_text("a0: &a0 [x]\n" + "\n".join(levels), name="r.yaml")
    assert len(document.places) < 40 * 11


def test_merged_keys_may_be_overridden() -> None:
    text = "base: &base {lr: 1, wd: 2}\nuse: {<<: *base, lr: 3}\n"
    assert load_text(text, name="r.yaml").values["use"] == {"lr": 3, "wd": 2}


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]))
    | st.sampled_from(["off", "1e5", "null", "~", "2024-01-01", "010", "1_0", "true", "=", "<<", "- a", "a: b", "#"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcde"), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(plain)
def test_what_is_dumped_is_read_back_the_same(values: object) -> None:
    again = load_text(dump_text({"key": values}), name="r.yaml").values["key"]
    assert again == values
    assert repr(again) == repr(values)


@given(
    plain
    | st.text(st.characters(codec="utf-8"))
    | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=9), st.text(st.characters(codec="utf-8")))
)
@example("data/\U0001f600 \U00020000.jsonl")
@example({"a\u2028\u0085\x00\x7f\x9f\ufeff": "\\ud83d\\ude00 #2: \uffff\t\n\r"})
def test_what_stands_on_a_line_is_read_back_the_same(values: object) -> None:
    assert len(inline(values).splitlines()) == 1
    assert repr(load_text(inline(values), name="r.yaml").values) == repr(values)


def test_dump_keeps_the_order_and_other_readers_get_text() -> None:
    assert dump_text({"b": "off", "a": 1e-5}) == "b: 'off'\na: 1.0e-05\n"
    shared = [1]
    assert "&" not in dump_text({"a": shared, "b": shared})
    assert math.isclose(load_text("a: 1.0e-05", name="r").values["a"], 1e-5)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, says in ((tmp_path / "absent.yaml", "no such file"), (tmp_path, "cannot be read"), (binary, "UTF-8")):
        with pytest.raises(RecipeError, match=says) as caught:
            load_file(path)
        assert str(caught.value).startswith(str(path))


def test_an_empty_document_is_nothing() -> None:
    assert load_text("# only a comment\n", name="r.yaml").values is None
