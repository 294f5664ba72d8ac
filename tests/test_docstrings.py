"""data/docstrings.py: which docstrings are pairs, the harvest runs nothing, no package is in two splits."""

# ruff: noqa: E501 - a sentence or a template is read whole

from __future__ import annotations

import subprocess
import sys

import pytest

from homestretch.data import docstring_harvest
from homestretch.data.docstring_filters import (
    BODY_WORDS,
    MIN_OVERLAP,
    SUMMARY_WORDS,
    content,
    overlap,
    pair_of,
    sentences,
)
from homestretch.data.docstring_harvest import harvest, pairs_of_file
from homestretch.data.docstrings import PACKAGES, TEMPLATE, _read, _Seen, _write, load_docstrings
from homestretch.data.records import prompt_text
from homestretch.errors import InputError

BODY = "The candles are read from a box file, and those that were blown out before are lit again with a long match."
GOOD = f"Light every candle of the box file\n\n{BODY}\n\nParameters\n----------\nbox : str\n    The box."


def test_summary_and_body():
    assert pair_of(GOOD, "x.py:1") == (BODY, "Light every candle of the box file.", "x.py:1")


def test_a_second_sentence_of_the_first_paragraph_belongs_to_the_body():
    pair = pair_of(f"Light every candle of the box file. Wind is bad.\n\n{BODY}", "x")
    assert (pair.summary, pair.body) == ("Light every candle of the box file.", f"Wind is bad. {BODY}")


@pytest.mark.parametrize(
    "end",
    ["Args:\n  box: the box.", "Returns\n-------\nNothing at all.", ":param box: the box.", ".. note:: Hot.", ">>> light()", "- one\n- two",
     "Example:\n\n    light()", "    light(box)", "box: the box.", "1. Take a match.", "It is hot, see https://fire.example for why.",
     "It is used like this:", "The sum is \\frac{1}{2} of all."],
)  # fmt: skip
def test_the_body_ends_where_prose_ends(end):
    assert (
        pair_of(f"Light every candle of the box file.\n\n{BODY}\n\n{end}\n\nMore prose comes here.", "x").body == BODY
    )


def test_pointers_markup_and_roles_are_taken_off():
    pair = pair_of(
        f"Light every *candle* of the :class:`~shop.Box` file.\n\nSee `Match` for details. {BODY} Uses ``fire``.", "x"
    )
    assert pair.summary == "Light every candle of the `shop.Box` file."
    assert pair.body == f"{BODY} Uses `fire`."


@pytest.mark.parametrize(
    "summary",
    ["Light candles.", "light every candle of the box file.", "candle(box) -> file", "Light every candle, i.e. the box file.",
     "Light every candle of the box: file.", "Test the candles of the box file.", "This lights every candle of the box file.",
     "Light every candle of the box file " + "again and " * 9 + "again.", "Light the café candles of the box file.",
     "Return the colour of tomorrow's weather report.", "Light the box or candle_lit box_file read_box blown_out long_match."],
)  # fmt: skip
def test_poor_summaries_are_refused(summary):
    assert pair_of(f"{summary}\n\n{BODY}", "x") is None


def test_poor_bodies_are_refused():
    assert pair_of("Light every candle of the box file.\n\nThe candles of the box file are lit.", "x") is None
    assert pair_of(f"Light every candle of the box file.\n\nLight every candle of the box file. {BODY}", "x") is None
    assert pair_of("", "x") is None and pair_of("Light every candle of the box file.", "x") is None


def test_long_bodies_are_cut_at_a_sentence():
    body = pair_of(f"Light every candle of the box file.\n\n{' '.join([BODY] * 9)}", "x").body
    assert body == " ".join([BODY] * 3) and len(body.split()) in BODY_WORDS


def test_overlap_counts_stems_once_and_needs_two():
    assert content("Reading the read files, candle_box and CandleLight") == {"read", "fil", "candl", "box", "light"}
    assert overlap("Read four old files.", "A file is read.") == pytest.approx(2 / 4)
    assert overlap("Read files.", "A file is there.") == 0


def test_sentences_know_abbreviations():
    assert sentences("Use e.g. A or b. E.g. Six of J. Doe. Then stop.") == [
        "Use e.g. A or b.",
        "E.g. Six of J. Doe.",
        "Then stop.",
    ]


def test_near_copies_and_crowds_are_refused():
    seen = _Seen()
    assert seen.is_new(BODY, "Light every candle of the file.", "test")
    assert not seen.is_new(BODY.replace("match", "stick"), "Burn all the wax.", "train")  # nearly the same body
    assert not seen.is_new(
        "Another text.", "Light every candles of files.", "train"
    )  # the same summary but for endings
    starts = [seen.is_new(f"Unlike {word} text of this number.", f"Base class for all {word}.", "train")
              for word in ("cats", "dogs", "cows", "pigs", "hens", "bees")]  # fmt: skip
    assert starts == [True] * 5 + [False]


def test_files_are_parsed_and_never_run(tmp_path):
    path = tmp_path / "m.py"
    path.write_text(f'raise SystemExit\nif 1:\n    class A:\n        def f(self):\n            """{GOOD}\n"""\n')
    assert [p.name for p in pairs_of_file("m.py", str(path))] == ["m.py:5"]
    path.write_text(f'def f(:\n    """{GOOD}"""')
    assert list(pairs_of_file("m.py", str(path))) == []
    path.write_bytes(b'"""\xff"""')
    assert list(pairs_of_file("m.py", str(path))) == []


def test_the_number_of_processes_does_not_matter(monkeypatch):
    packages = ["rich", "click", "no_such_package"]
    several = harvest(packages)
    monkeypatch.setattr(docstring_harvest, "_MAX_WORKERS", 1)
    assert several == harvest(packages)
    assert several["rich"] and several["click"] and not several["no_such_package"]
    assert "rich" not in sys.modules or all(p.name.startswith("rich/") for p in several["rich"])


def test_an_unwritable_cache_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as error:
        _write(tmp_path / "file" / "d.jsonl", [])
    assert str(error.value) == (
        f"{tmp_path}/file: the cache cannot be written (File exists); set HOMESTRETCH_CACHE to a folder that can."
    )


@pytest.mark.parametrize("damage", [b"", b"{", b'{"id": "a"}\n{"id": "c"}\n'])
def test_a_damaged_cache_is_none(tmp_path, damage):
    file, rows = tmp_path / "d.jsonl", [{"id": "a"}, {"id": "b\u2028"}]
    assert _read(file) is None
    _write(file, rows)
    assert _read(file) == rows
    whole = file.read_bytes()
    file.write_bytes(whole[:-8])
    assert _read(file) is None
    file.write_bytes(whole.partition(b"\n")[0] + b"\n" + damage)
    assert _read(file) is None
    file.write_bytes(damage)
    assert _read(file) is None


@pytest.fixture(scope="module")
def built_in():
    return load_docstrings()


def test_sizes_and_description(built_in):
    splits, description = built_in
    sizes = {k: len(v) for k, v in splits.items()}
    assert sizes["train"] >= 2500 and sizes["validation"] >= 250 and sizes["test"] >= 500
    first, *lines = description.splitlines()
    assert first == f"{sum(sizes.values()):,} pairs (docstring body -> summary line), split by package."
    assert [line.split(":")[0] for line in lines] == [f"{k.capitalize()} {n:,}" for k, n in sizes.items()]
    assert "python " in lines[0] and "scipy " in lines[1] and "sklearn " in lines[2]


def test_no_package_is_in_two_splits(built_in):
    packages = {k: {e.columns["package"] for e in v} for k, v in built_in[0].items()}
    assert sum(map(len, packages.values())) == len(set().union(*packages.values()))
    assert all(packages[k] <= set(PACKAGES[k]) for k in packages)
    assert all(e.id.split("/")[0] == e.columns["package"] for v in built_in[0].values() for e in v)


def test_every_pair_keeps_the_promises(built_in):
    examples = [e for v in built_in[0].values() for e in v]
    for e in examples:
        summary = e.completion.removeprefix(" ")
        assert e.completion == f" {summary}" and summary.endswith(".") and len(summary.split()) in SUMMARY_WORDS
        assert e.prompt == TEMPLATE.format(body=e.source) and len(e.source.split()) in BODY_WORDS
        assert (
            e.source.isascii()
            and ">>>" not in e.source
            and "::" not in e.source
            and summary.lower() not in e.source.lower()
        )
        assert overlap(summary, e.source) >= MIN_OVERLAP
    assert len({prompt_text(e) for e in examples}) == len({e.completion for e in examples}) == len(examples)
    assert len({e.id for e in examples}) == len(examples)


def test_the_second_load_equals_the_first(built_in):
    assert load_docstrings() == built_in


def test_loading_imports_no_torch():
    code = "import sys, homestretch.data.sources as s; s.load('builtin/docstrings', max_train=5); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
