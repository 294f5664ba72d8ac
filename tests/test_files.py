"""data/files.py and splits.py where files are at the edge of what their format allows: named, and nothing is lost."""

from __future__ import annotations

import csv
import datetime
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from homestretch.data.files import parse_json, read_file
from homestretch.data.sources import load
from homestretch.errors import DataError, InputError

GOOD = {"prompt": "a", "completion": "b"}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" * 101 + "]" * 101, "nested too deeply"),
        ('{"a": ' * 50 + "[" * 51 + "]" * 51 + "}" * 50, "nested too deeply"),
        ("9" * 5000, "a number has too many digits"),
        ("{", "Expecting property name"),
    ],
)
def test_json_that_python_cannot_hold_is_a_bad_row(tmp_path: Path, line: str, what: str) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(DataError, match=rf"rows.jsonl:2: not valid JSON \({what}"):
        load(tmp_path / "rows.jsonl")
    kept = load(tmp_path / "rows.jsonl", on_bad_row="skip", rejected=tmp_path / "r.jsonl")
    [entry] = [json.loads(text) for text in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert len(kept.train) == 1 and entry["line"] == 2 and entry["row"] == line
    (tmp_path / "rows.json").write_text(f"[{line}")
    with pytest.raises(DataError, match=r"rows.json:1: not valid JSON"):
        read_file(tmp_path / "rows.json")


def test_deep_json_that_is_not_too_deep_is_read() -> None:
    assert parse_json("[" * 100 + "]" * 100) != [] and parse_json("[" + "[]," * 200 + "1]")[-1] == 1


def test_half_of_a_character_is_kept_among_the_rejected(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(GOOD) + '\n{"prompt": "a\\ud83d", "completion": "b"}\n')
    load(tmp_path / "rows.jsonl", on_bad_row="skip", rejected=tmp_path / "r.jsonl")
    assert json.loads((tmp_path / "r.jsonl").read_text())["row"] == {"prompt": "a\ud83d", "completion": "b"}


def test_a_csv_header_with_one_name_twice(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt,completion,prompt\na,b,c\n")
    with pytest.raises(DataError, match=r"rows.csv:1: the header names `prompt` twice; give each column a name"):
        read_file(tmp_path / "rows.csv")


def test_cells_of_a_csv_file_are_what_they_stand_for(tmp_path: Path) -> None:
    ask, answer = [{"role": "user", "content": "a"}], [{"role": "assistant", "content": "b"}]
    row = {
        "question": "[1, 2]",
        "chosen": "[citation needed]",
        "rejected": '{"role": 1}',
        "refs": '["x", "y"]',
        "reward_logits": "[1.5, -2]",
        "chosen_rewards": '{"truth": 1}',
        "note": "[see above",
        "id": "[7]",
        "rejected_terminated": "False",
        "correct": "true",
    }
    chat = row | {"question": json.dumps(ask), "chosen": json.dumps(answer), "rejected": json.dumps(answer)}
    for name, one in (("text", row), ("chat", chat)):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(one))
            table.writeheader()
            table.writerow(one)
    columns = {"prompt": "question", "references": "refs"}
    [text], [messages] = (load(tmp_path / f"{n}.csv", columns=columns, shares=(0, 0)).train for n in ("text", "chat"))
    assert (text.id, text.prompt, text.completion, text.references) == (
        "[7]",
        "[1, 2]",
        "[citation needed]",
        ("[citation needed]", "x", "y"),
    )
    assert text.columns == {
        "chosen": "[citation needed]",
        "rejected": '{"role": 1}',
        "reward_logits": [1.5, -2],
        "chosen_rewards": {"truth": 1},
        "note": "[see above",
        "rejected_terminated": False,
        "correct": True,
    }
    assert (messages.prompt, messages.completion, messages.columns["rejected"]) == (ask, answer, answer)


FLAG_CELLS = [("0", False), ("1", True), ("FALSE", False), ("True", True), ("", None), ("no", "no")]


@pytest.mark.parametrize(("cell", "value"), FLAG_CELLS)
def test_a_flag_of_a_csv_file_is_true_or_false_or_a_bad_row(tmp_path: Path, cell: str, value: object) -> None:
    (tmp_path / "rows.csv").write_text(
        f"prompt,chosen,rejected,rejected_terminated,failure_mode,margin,references,note\np,c,,{cell},,,,\n"
    )
    if value == "no":
        with pytest.raises(DataError, match=r"rows.csv:2: `rejected_terminated` = 'no' is not true or false; correct"):
            load(tmp_path / "rows.csv", shares=(0, 0))
        return
    [row] = load(tmp_path / "rows.csv", shares=(0, 0)).train
    ended = {} if value is None else {"rejected_terminated": value}
    assert row.columns == {"chosen": "c", "rejected": "", **ended}


def test_a_number_that_another_row_has_is_not_given_again(tmp_path: Path) -> None:
    rows = [{"id": x, "prompt": str(i), "completion": "c"} for i, x in enumerate(["a", "a#2", "a", "a#2", "a"])]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [e.id for e in load(tmp_path / "rows.jsonl", shares=(0, 0)).train] == ["a", "a#2", "a#3", "a#2#2", "a#4"]


def test_a_date_that_python_cannot_hold(tmp_path: Path) -> None:
    days = pyarrow.array([10**7], pyarrow.date32())
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["a"], "x": days}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows.parquet:1: not valid Parquet \(.*\); write the file again"):
        read_file(tmp_path / "rows.parquet")
    fine = pyarrow.table({"prompt": ["a"], "x": [datetime.date(2020, 1, 1)]})
    pyarrow.parquet.write_table(fine, tmp_path / "rows.parquet")
    assert read_file(tmp_path / "rows.parquet")[0].value["x"] == datetime.date(2020, 1, 1)


def test_of_rows_on_one_line_the_right_one_is_rejected(tmp_path: Path) -> None:
    rows = [{"prompt": name, "completion": "b"} for name in ("leak", "other")]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    (tmp_path / "test.json").write_text(json.dumps(rows[:1]))
    kept = load(tmp_path, on_bad_row="skip", rejected=tmp_path / "r" / "r.jsonl", shares=(0, 0))
    assert [e.prompt for e in kept.train] == ["other"]
    assert json.loads((tmp_path / "r" / "r.jsonl").read_text())["row"] == rows[0]


def test_a_saved_split_without_rows_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = datasets.Dataset.from_list([GOOD, GOOD])
    empty = datasets.DatasetDict(train=rows.select([]), test=rows)
    empty.save_to_disk(tmp_path / "saved")
    unread = r"the saved data set cannot be read \(.*\); save it again"  # older releases of datasets do read it
    with pytest.raises(InputError, match=rf"saved: ({unread}|the split `train` has no rows)"):
        load(tmp_path / "saved")
    monkeypatch.setattr(datasets, "load_from_disk", lambda folder: empty)  # as other versions may
    with pytest.raises(InputError, match=r"saved: the split `train` has no rows; give it at least one"):
        load(tmp_path / "saved")
