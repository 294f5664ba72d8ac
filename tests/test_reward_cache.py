"""Rewards that a model has given before: found by content, asked for once, written as they come."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import tiny

from homestretch.errors import InputError
from homestretch.rewards import cache
from homestretch.rewards.cache import FILE, content_key, model_key, scored_once


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache"


class Asked:
    """Gives 10 times the index, and counts."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, indices: list[int]) -> list[float | None]:
        self.calls.append(indices)
        return [None if i == 3 else 10.1 * i for i in indices]


def test_equal_text_is_asked_for_once_and_in_its_place(folder: Path) -> None:
    first, again, other = Asked(), Asked(), Asked()
    assert scored_once("m", ["a", "b", "a", "c"], first) == [0.0, 10.1, 0.0, None]
    assert first.calls == [[0, 1, 3]]
    assert scored_once("m", ["c", "b", "d", "a"], again) == [None, 10.1, 20.2, 0.0]
    assert again.calls == [[2]], "what does not apply is known, too"
    scored_once("another", ["a"], other)
    assert other.calls == [[0]]


def test_a_look_up_reads_what_is_asked_for_and_not_all_that_is_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.remember("m", {f"t{i}": float(i) for i in range(20_000)})
    steps: list[int] = []
    connect = sqlite3.connect

    def counted(*args: Any, **settings: Any) -> sqlite3.Connection:
        connection = connect(*args, **settings)
        connection.set_progress_handler(lambda: steps.append(100), 100)
        return connection

    monkeypatch.setattr(sqlite3, "connect", counted)
    assert cache.remembered("m", ["t7", "t8", "other"]) == {"t7": 7.0, "t8": 8.0}
    assert sum(steps) < 2_000, "SQLite takes some six steps a row that it gives"
    many = [f"t{i}" for i in range(3 * cache.LOOKED_UP + 1)]
    assert cache.remembered("m", many) == {text: float(text[1:]) for text in many}
    assert cache.remembered("m", []) == cache.remembered("another", many) == {}


def test_what_was_scored_before_a_run_was_killed_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "AT_ONCE", 2)
    asked = Asked()

    def dies(indices: list[int]) -> list[float | None]:
        if indices[0] >= 2:
            raise KeyboardInterrupt
        return asked(indices)

    with pytest.raises(KeyboardInterrupt):
        scored_once("m", ["a", "b", "c"], dies)
    assert scored_once("m", ["a", "b", "c"], asked) == [0.0, 10.1, 20.2]
    assert asked.calls == [[0, 1], [2]]


def test_float32_numbers_come_back_to_the_bit(folder: Path) -> None:
    numbers = [1 / 3, 1e-30, -7.123456789]
    scored_once("m", ["a", "b", "c"], lambda indices: [numbers[i] for i in indices])
    assert scored_once("m", ["a", "b", "c"], Asked()) == numbers


def test_a_cache_that_cannot_be_used_is_one_sentence(folder: Path) -> None:
    folder.mkdir()
    (folder / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match=r"rewards\.sqlite: rewards cannot be kept there .*HOMESTRETCH_CACHE"):
        scored_once("m", ["a"], Asked())


@pytest.mark.parametrize("column", ["reward", "text", "digest"])
def test_an_entry_that_is_damaged_is_asked_for_again(folder: Path, column: str) -> None:
    scored_once("m", ["a", "b", "c"], Asked())
    damaged = {"reward": 7.5, "text": "c2", "digest": "0" * 32}[column]
    with closing(sqlite3.connect(folder / FILE)) as table, table:
        table.execute(f"UPDATE checked_rewards SET {column} = ? WHERE text = 'b'", (damaged,))
    again = Asked()
    assert scored_once("m", ["a", "b", "c", "c2"], again) == [0.0, 10.1, 20.2, None]
    assert again.calls == [[1, 3]]
    assert scored_once("m", ["b"], Asked()) == [10.1], "and is whole from then on"


def test_several_connections_may_write(folder: Path) -> None:
    def asks_inside(indices: list[int]) -> list[float | None]:
        scored_once("m", ["inner"], Asked())
        return [1.0]

    assert scored_once("m", ["outer"], asks_inside) == [1.0]
    with closing(sqlite3.connect(folder / FILE)) as table, table:
        assert table.execute("SELECT count(*) FROM checked_rewards").fetchone() == (2,)


def test_the_key_of_a_model_is_its_content(tmp_path: Path) -> None:
    one, same, other = (tiny.save(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert model_key(one) == model_key(same) != model_key(other)
    assert content_key("a", "b") != content_key("ab") != content_key(("a", "b"))


READ = ["chat_template.jinja", "modeling_own.py", "own.tiktoken", "vocab", "additional_chat_templates/tools.jinja"]


@pytest.mark.parametrize("name", READ)
def test_all_that_loading_may_read_is_part_of_the_key(tmp_path: Path, name: str) -> None:
    model = Path(tiny.save(tmp_path / "model"))
    before = model_key(str(model))
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text("one")
    first = model_key(str(model))
    (model / name).write_text("two")
    assert len({before, first, model_key(str(model))}) == 3


@pytest.mark.parametrize("name", ["README.md", "optimizer.pt", ".gitattributes", "adapter/adapter_config.json"])
def test_what_loading_does_not_read_is_no_part_of_the_key(tmp_path: Path, name: str) -> None:
    model = Path(tiny.save(tmp_path / "model"))
    before = model_key(str(model))
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text("one")
    assert model_key(str(model)) == before
