"""data/sources.py, files.py, splits.py: every kind of file gives the same rows; splits share no prompt; one sentence
for every bad input."""

# ruff: noqa: E501 - a sentence or a template is read whole

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.data.files import RawRow
from homestretch.data.records import example_from_row, prompt_text
from homestretch.data.sources import load
from homestretch.data.splits import cut, refuse_leaks, sample
from homestretch.errors import DataError, InputError

ROWS = [{"prompt": f"p{i}", "completion": f"c{i}", "references": [f"c{i}", "r"], "reward": i / 2} for i in range(20)]


def write(path: Path, rows: list) -> Path:
    """Rows as a file of the kind that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows({k: json.dumps(v) if isinstance(v, list) else v for k, v in r.items()} for r in rows)
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def seen(examples):
    return [(e.prompt, e.completion, e.references, e.columns["reward"]) for e in examples]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, kind):
    splits = load(write(tmp_path / f"rows.{kind}", ROWS), shares=(0, 0))
    assert seen(splits.train) == [(r["prompt"], r["completion"], tuple(r["references"]), r["reward"]) for r in ROWS]
    assert (splits.validation, splits.test) == ([], [])


@pytest.mark.parametrize(("kind", "place"), [("jsonl", 3), ("json", 20), ("csv", 4), ("parquet", 3)])
def test_places_are_lines_of_the_file(tmp_path, kind, place):
    path = write(tmp_path / f"rows.{kind}", ROWS)
    assert load(path, shares=(0, 0)).train[2].where == f"{path}:{place}"
    if kind == "json":  # the row's own line: it begins with a brace, and its prompt is on the next one
        assert [line.strip() for line in path.read_text().splitlines()[place - 1 : place + 1]] == [
            "{",
            '"prompt": "p2",',
        ]


def test_csv_rows_of_several_lines_keep_their_place(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\n"two\nlines",a\nq,b\n')
    assert [e.where for e in load(path, shares=(0, 0)).train] == [f"{path}:2", f"{path}:4"]


def test_chat_messages_from_parquet_and_csv(tmp_path):
    rows = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}]
    for kind in ("parquet", "csv", "jsonl"):
        assert load(write(tmp_path / f"rows.{kind}", rows), shares=(0, 0)).train[0].references == ("yo",)


def test_saved_datasets_folders(tmp_path):
    from datasets import Dataset, DatasetDict

    data = Dataset.from_list(ROWS)
    data.save_to_disk(tmp_path / "one")
    assert seen(load(tmp_path / "one", shares=(0, 0)).train) == seen(
        load(write(tmp_path / "r.jsonl", ROWS), shares=(0, 0)).train
    )
    DatasetDict(train=data.select(range(15)), val=data.select([15, 16]), test=data.select([17])).save_to_disk(
        tmp_path / "three"
    )
    splits = load(tmp_path / "three")
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [15, 2, 1]
    assert splits.validation[0].where == f"{tmp_path / 'three'}/val:1"


def test_folder_of_files_and_names_of_splits(tmp_path):
    for name, rows in {"train": ROWS[:10], "dev": ROWS[10:12], "test": ROWS[12:14], "extra": ROWS[14:17]}.items():
        write(tmp_path / f"{name}.jsonl", rows)
    splits = load(tmp_path)
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [10, 2, 2]
    assert splits.description == f"{tmp_path}: train 10, validation 2, test 2."
    assert len(load(tmp_path, split={"train": "extra"}).train) == 3
    assert len(load(tmp_path, split={"test": "extra.jsonl"}).test) == 3


def test_columns_are_mapped(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"article": "a", "highlights": "h", "prompt_id": 1}])
    [e] = load(path, columns={"prompt": "article", "completion": "highlights"}, shares=(0, 0)).train
    assert (e.prompt, e.completion, e.columns) == ("a", "h", {"prompt_id": 1})


def test_a_suffix_is_set_behind_prompts_that_are_text_and_not_behind_documents(tmp_path):
    chat = [{"role": "user", "content": "hello"}]
    rows = [{"prompt": "a"}, {"prompt": "Say: b", "document": "b"}, {"prompt": chat}]
    path, seen = write(tmp_path / "rows.jsonl", [{**row, "completion": "h"} for row in rows]), []
    examples = load(path, prompt_suffix="\nText:", shares=(0, 0), check=lambda e: seen.append(e.prompt)).train
    assert [e.prompt for e in examples] == ["a\nText:", "Say: b\nText:", chat] == seen
    assert [e.source for e in examples] == ["a", "b", "hello"]
    [e] = load("builtin/docstrings", prompt_suffix=" Go:", max_train=1).train
    assert e.prompt.endswith(" Go:") and not e.source.endswith(" Go:")


def test_a_shared_id_is_numbered(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"id": "x", "prompt": str(i), "completion": "c"} for i in range(3)])
    assert [e.id for e in load(path, shares=(0, 0)).train] == ["x", "x#2", "x#3"]


def test_samples_are_seeded_and_nested(tmp_path):
    path = write(tmp_path / "rows.jsonl", ROWS)
    ids = {n: [e.id for e in load(path, max_train=n, seed=3).train] for n in (4, 8, 99)}
    assert set(ids[4]) < set(ids[8]) < set(ids[99]) and len(ids[4]) == 4
    assert ids[8] != [e.id for e in load(path, max_train=8, seed=4).train]


def test_an_unknown_builtin_is_named():
    with pytest.raises(InputError) as error:
        load("builtin/docstring")
    assert str(error.value) == "builtin/docstring: no such built-in data set; did you mean `builtin/docstrings`?"


FILES = {
    "empty.jsonl": ("", "{p}:1: the file has no rows; give it at least one."),
    "blank.json": ("\n", "{p}:1: the file has no rows; give it at least one."),
    "list.json": ("[]", "{p}:1: the file has no rows; give it at least one."),
    "object.json": ('{"a": 1}', "{p}:1: a JSON file must be a list of rows; write `[...]`, or one row a line in a .jsonl file."),
    "broken.json": ('[\n{"prompt": }]', "{p}:2: not valid JSON (Expecting value, column 12); correct the file."),
    "line.jsonl": ('{"prompt": "a", "completion": "b"}\n\n{"prompt"\n', "{p}:3: not valid JSON (Expecting ':' delimiter, column 10); correct the line."),
    "latin.jsonl": (b'{"prompt": "a", "completion": "b"}\n{"prompt": "\xe9"}\n', "{p}:2: not UTF-8 text; save the file as UTF-8."),
    "latin.csv": (b"prompt,completion\na,\xe9\n", "{p}:2: not UTF-8 text; save the file as UTF-8."),
    "wide.csv": ("prompt,completion\na,b\na,b,c\n", "{p}:3: more cells than the header has names; quote the commas."),
    "cell.csv": ("prompt,references\na,b\n", "{p}:2: a cell of `references`, `rewards`, `messages` must be JSON (Expecting value); correct it."),
    "quote.csv": ('prompt,completion\n"a"x,b\n', "{p}:2: not valid CSV (',' expected after '\"'); correct the file, or write it as .jsonl."),
    "column.jsonl": ('{"text": "a"}', "{p}:1: there is no column `prompt` (the row has `text`); rename one, or map it with columns.prompt=ITS_NAME."),
    "recipe.yaml": ("x", "{p} is a recipe, not data; train it with `homestretch train {p}`."),
    "recipe.yml": ("x", "{p} is a recipe, not data; train it with `homestretch train {p}`."),
    "notes.txt": ("x", "{p}: files of kind `.txt` cannot be read; use one of .csv, .json, .jsonl, .parquet."),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_bad_file(tmp_path, name):
    text, sentence = FILES[name]
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as error:
        load(path)
    assert str(error.value) == sentence.format(p=path)


def test_bad_places(tmp_path):
    def sentence(*args, **options):
        with pytest.raises(InputError) as error:
            load(*args, **options)
        return str(error.value).replace(str(tmp_path), "D")

    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_text("{}")
    write(tmp_path / "only" / "test.jsonl", ROWS)
    write(tmp_path / "twice" / "train.jsonl", ROWS)
    write(tmp_path / "twice" / "train.csv", ROWS)
    good = write(tmp_path / "good.jsonl", ROWS)
    assert sentence(tmp_path / "none.jsonl") == "D/none.jsonl: there is no such file or folder; check the path."
    assert sentence("./nothing") == "./nothing: there is no such file or folder; check the path."
    assert sentence(tmp_path / "bad.parquet").startswith("D/bad.parquet:1: not valid Parquet (")
    assert sentence(tmp_path / "saved").startswith("D/saved: the saved data set cannot be read (")
    no_train = "there is no split `train`; name its file train, or say which it is with split.train=NAME."
    assert sentence(tmp_path / "only") == f"D/only: {no_train}"
    assert sentence(tmp_path / "folder.jsonl") == f"D/folder.jsonl: {no_train}"
    assert sentence(tmp_path / "twice") == "D/twice: train.csv and train.jsonl have one name; keep one of them."
    assert (
        sentence(good, split={"train": "trian"})
        == "D/good.jsonl: split.train=trian: there is no such split; did you mean `train`?"
    )
    assert sentence(good, split={"tset": "x"}) == "split: there is no split `tset`; did you mean `test`?"
    assert (
        sentence(good, columns={"promt": "x"})
        == "columns: there is no column `promt` to map to; did you mean `prompt`?"
    )
    assert (
        sentence(good, columns={"prompt": "promt"})
        == "D/good.jsonl:1: columns.prompt=promt: there is no such column; did you mean `prompt`?"
    )


def test_unwritable_place_for_rejected_rows(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"rejected rows cannot be written .*; choose another place."):
        load(write(tmp_path / "rows.jsonl", ROWS), on_bad_row="skip", rejected=tmp_path / "file" / "rejected.jsonl")


def test_skipping_loses_nothing(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt"\n{"prompt": "", "completion": "x"}\n')
    splits = load(path, shares=(0, 0), on_bad_row="skip", rejected=tmp_path / "out" / "rejected.jsonl")
    kept = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert len(splits.train) == 1 and splits.description.endswith("train 1, validation 0, test 0; 2 rows left out.")
    assert [(k["file"], k["line"]) for k in kept] == [(str(path), 2), (str(path), 3)]
    assert [k["row"] for k in kept] == ['{"prompt"', {"prompt": "", "completion": "x"}]
    assert kept[1]["reason"] == f"{path}:3: `prompt` is empty; give it a text, or drop the row."


def test_skipping_every_row_is_an_error_and_still_loses_nothing(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"prompt": "", "completion": "x"}] * 2)
    with pytest.raises(DataError) as error:
        load(path, on_bad_row="skip", rejected=tmp_path / "rejected.jsonl")
    assert (
        str(error.value)
        == f"{path}:1: `prompt` is empty; give it a text, or drop the row (no other training row was good either)."
    )
    assert len((tmp_path / "rejected.jsonl").read_text().splitlines()) == 2


def test_a_check_may_refuse_rows(tmp_path):
    def check(example):
        if example.prompt == "p3":
            raise DataError(f"{example.where}: too long.")

    path = write(tmp_path / "rows.jsonl", ROWS)
    with pytest.raises(DataError, match=r"rows.jsonl:4: too long."):
        load(path, check=check)
    assert len(load(path, check=check, shares=(0, 0), on_bad_row="skip", rejected=tmp_path / "r.jsonl").train) == 19


def test_a_leak_is_an_error_that_names_both_places(tmp_path):
    write(tmp_path / "train.jsonl", ROWS[:5])
    write(tmp_path / "test.jsonl", [*ROWS[7:9], {"prompt": " p2\n", "completion": "other"}])
    with pytest.raises(DataError) as error:
        load(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/train.jsonl:3: the prompt is also in another split, at {tmp_path}/test.jsonl:3; "
        "remove one of the two, or leave this one out with on_bad_row=skip."
    )
    splits = load(tmp_path, on_bad_row="skip", rejected=tmp_path / "rejected" / "rows.jsonl", shares=(0, 0))
    assert [e.prompt for e in splits.train] == ["p0", "p1", "p3", "p4"] and len(splits.test) == 3
    assert json.loads((tmp_path / "rejected" / "rows.jsonl").read_text())["row"] == ROWS[2]


def examples(prompts):
    return [example_from_row({"prompt": p, "completion": "c"}, where=f"f:{i}") for i, p in enumerate(prompts, 1)]


@given(st.lists(st.sampled_from([f"p{i}" for i in range(12)]), min_size=1, max_size=40), st.sampled_from([0, 0.1, 0.3]))
def test_cut_splits_share_no_prompt_and_lose_no_row(prompts, share):
    rows = examples(prompts)
    splits = cut({"train": rows}, {"validation": share, "test": share})
    texts = [{prompt_text(e) for e in s} for s in splits.values()]
    assert sum(map(len, texts)) == len(set().union(*texts))
    assert sorted(e.where for s in splits.values() for e in s) == sorted(e.where for e in rows)
    assert splits["train"] and (not share or len(set(prompts)) < 3 or (splits["validation"] and splits["test"]))
    shuffled = cut({"train": rows[::-1]}, {"validation": share, "test": share})
    assert {k: {prompt_text(e) for e in s} for k, s in shuffled.items()} == dict(zip(splits, texts, strict=True))


def test_given_splits_are_not_cut():
    rows = examples("abcdefghij")
    splits = cut({"train": rows, "test": examples("xy")}, {"validation": 0.2, "test": 0.2})
    assert [len(splits[k]) for k in ("train", "validation", "test")] == [8, 2, 2]


@given(*[st.lists(st.sampled_from("abcdef"), max_size=6)] * 3)
def test_after_leaks_are_left_out_no_prompt_is_in_two_splits(train, validation, test):
    splits = {"train": examples(train), "validation": examples(validation), "test": examples(test)}
    raw = {k: [RawRow(e.where, e.prompt) for e in v] for k, v in splits.items()}
    left_out = []
    clean = refuse_leaks(splits, raw, left_out)
    texts = [{prompt_text(e) for e in s} for s in clean.values()]
    assert sum(map(len, texts)) == len(set().union(*texts))
    assert sum(map(len, clean.values())) + len(left_out) == len(train) + len(validation) + len(test)
    assert clean["test"] == splits["test"]


@given(st.integers(0, 20), st.integers(0, 25), st.integers(0, 5))
def test_a_sample_keeps_the_order(count, n, seed):
    rows = examples(str(i) for i in range(count))
    drawn = sample(rows, n, seed=seed, name="train")
    assert len(drawn) == min(n, count) and drawn == sorted(drawn, key=rows.index)
