"""A judge as a reward: averages, what is kept and asked for again, costs, refusals, and its way through a command."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from judge_server import Asked, Reply, failed, grade, judge_server

from homestretch.cli.main import run_command
from homestretch.config.extractors import JudgeConfig
from homestretch.errors import DataError, InputError
from homestretch.rewards import cache
from homestretch.rewards.endpoint import EndpointDown
from homestretch.rewards.judge import Judge

KEY = "sk-very-secret"
DOCUMENTS = ["one", "two", "three"]
TEXTS = ["first", "second", "third"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cache, "cache_dir", lambda: tmp_path / "cache")
    yield
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes(), "the key is in no file"


def config(asked: Asked, **settings: Any) -> JudgeConfig:
    given = {"retry_wait": 0, "timeout": 5, "max_retries": 1, "samples": 1, "base_url": asked.url, **settings}
    return JudgeConfig.parse({"model": "m", "feature": "relevance", **given}, where="here")


def judged(asked: Asked, texts: list[str] = TEXTS, documents: list[str] = DOCUMENTS, **settings: Any) -> list[float]:
    where = [f"rows.jsonl:{i + 1}" for i in range(len(texts))]
    return Judge("mine", config(asked, **settings))(["p"] * len(texts), texts, document=documents, where=where)


def by_text(scores: dict[str, Any]) -> Callable[[int, dict[str, Any]], Reply]:
    """A grade, or a reply, for each text."""

    def behave(_: int, body: dict[str, Any]) -> Reply:
        text = body["messages"][1]["content"].partition("<text>\n")[2].partition("\n</text>")[0]
        return scores[text] if isinstance(scores[text], Reply) else grade(scores[text])

    return behave


def test_grades_are_given_as_0_to_1_each_to_its_text() -> None:
    with judge_server(by_text({"first": 5, "second": 0, "third": 2.5})) as asked:
        assert judged(asked, [*TEXTS, " ..."], [*DOCUMENTS, "four"]) == [1.0, 0.0, 0.5, 0.0]
        assert len(asked.requests) == 3, "nobody is asked about a text without a word"


def test_samples_are_averaged() -> None:
    with judge_server(lambda number, _: grade([1, 2, 4.5][number])) as asked:
        assert judged(asked, ["a"], ["d"], samples=3) == [pytest.approx(2.5 / 5)]
        assert len(asked.requests) == 3


def test_what_was_answered_is_asked_for_no_more() -> None:
    with judge_server(lambda number, _: grade(number % 5)) as asked:
        first = judged(asked, samples=2, concurrency=1)
        assert len(asked.requests) == 6 and judged(asked, samples=2) == first and len(asked.requests) == 6
        more = judged(asked, [*TEXTS, "first"], [*DOCUMENTS, "one"], samples=3)
        assert len(asked.requests) == 9 and more[3] == more[0], "three more samples, and equal texts are one"
        changed = [{"temperature": 0.9}, {"model": "n"}, {"feature": "conciseness"}, {"base_url": f"{asked.url}/x"}]
        for count, settings in enumerate(changed, 1):
            judged(asked, ["first"], ["one"], **settings)
            assert len(asked.requests) == 9 + count, settings
        judged(asked, ["first"], ["another document"])
        assert len(asked.requests) == 14
        judged(asked, ["first"], ["one"], max_retries=7, concurrency=2, base_url=f"{asked.url}/")
        assert len(asked.requests) == 14, "how it was asked is no part of what was answered"


@pytest.mark.parametrize("end", [failed(402, "no money"), failed(429, "x", "insufficient_quota"), failed(401), None])
def test_without_credit_what_is_done_is_kept_and_the_rest_can_go_on_later(end: Reply | None) -> None:
    paid = 2
    with judge_server(lambda number, _: grade(4) if number < paid else end) as asked:
        with pytest.raises(EndpointDown, match=r"; 2 of 3 answers were given and are kept, and the same command"):
            judged(asked, concurrency=1)
        known = len(asked.requests)
        paid = 100
        assert judged(asked) == [0.8] * 3
        assert len(asked.requests) == known + 1


def test_answers_that_come_while_others_fail_are_kept() -> None:
    slow = grade(3, seconds=0.4)
    behave = by_text({"first": slow, "second": slow, "third": failed(402)})
    with judge_server(behave) as asked, pytest.raises(EndpointDown, match=r"; 2 of 3 answers"):
        judged(asked, concurrency=3)
    with closing(sqlite3.connect(cache.cache_dir() / cache.FILE)) as table:
        assert table.execute("SELECT reward FROM checked_rewards").fetchall() == [(3.0,), (3.0,)]


def test_a_row_without_a_usable_answer_is_named_and_the_others_are_kept() -> None:
    bad = {"second": grade(11), "fourth": Reply(b"{}")}
    texts, documents = [*TEXTS, "fourth"], [*DOCUMENTS, "four"]
    with judge_server(by_text({"first": 1, "third": 2, **bad})) as asked:
        with pytest.raises(DataError) as error:
            judged(asked, texts, documents)
        assert str(error.value) == (
            "rows.jsonl:2: the judge `mine` gave no answer that can be used (the score 11 is not on the scale of 0 to "
            "5), and none for rows.jsonl:4; the other answers are kept: ask again for these, or name another model or "
            "response_format."
        )
        kept = cache.remembered(Judge("mine", config(asked))._scorer, keys(asked, texts, documents))
        assert sorted(kept.values()) == [1, 2]


TOO_LONG = failed(400, "This model's maximum context length is 4096 tokens.", "context_length_exceeded")


def test_a_request_that_is_refused_does_not_stop_the_others() -> None:
    texts = [f"text {i}" for i in range(41)]
    bad = dict.fromkeys([texts[0], *texts[30:]], TOO_LONG)
    with judge_server(by_text(dict.fromkeys(texts, 4) | bad)) as asked:
        for requests in (41 * 2, 12 * 2):
            with pytest.raises(DataError) as error:
                judged(asked, texts, texts, samples=2)
            assert str(error.value) == (
                "rows.jsonl:1: the judge `mine` gave no answer that can be used (it refuses the request: 400 This "
                "model's maximum context length is 4096 tokens. context_length_exceeded), and none for rows.jsonl:31, "
                "rows.jsonl:32, rows.jsonl:33 and 8 more; the other answers are kept: shorten these rows or leave them "
                "out, or name another model."
            )
            assert len(asked.requests) == requests
            asked.requests.clear()
        assert judged(asked, texts[1:30], texts[1:30], samples=2) == [0.8] * 29 and not asked.requests


def test_a_judge_that_refuses_every_request_is_not_asked_to_the_end() -> None:
    texts = [f"text {i}" for i in range(100)]
    with judge_server(lambda *_: failed(400, "there is no model m")) as asked:
        with pytest.raises(
            DataError, match=r"400 there is no model m\).*; nothing else was answered: check `model`, `b"
        ):
            judged(asked, texts, texts, concurrency=1)
        assert len(asked.requests) <= 20, "of 100"


def keys(asked: Asked, texts: list[str], documents: list[str]) -> list[str]:
    return [k for pair in zip(documents, texts, strict=True) for k in Judge("mine", config(asked))._keys(pair)]


def test_a_judge_that_never_gives_a_usable_answer_is_not_asked_to_the_end() -> None:
    texts = [f"text {i}" for i in range(100)]
    with judge_server(lambda *_: grade(100, seconds=0.01)) as asked:
        with pytest.raises(DataError, match=r":\d+: .*, and none for (rows.jsonl:\d+, ){2}rows.jsonl:\d+ and 4 m"):
            judged(asked, texts, texts, concurrency=1)
        assert len(asked.requests) < 100, "of 200"


def test_requests_run_at_the_same_time_but_no_more_than_allowed() -> None:
    texts = [f"text {i}" for i in range(12)]
    with judge_server(lambda *_: grade(1, seconds=0.05)) as asked:
        judged(asked, texts, texts, concurrency=3)
        assert asked.most_at_once == 3


def test_a_rate_limit_holds_for_all_requests_together() -> None:
    with judge_server(lambda *_: grade(1)) as asked:
        judged(asked, concurrency=3, requests_per_minute=600)
    assert max(asked.times) - min(asked.times) >= 0.15, "three begins, a tenth of a second apart"


PRICES = {"input_price": 2.0, "output_price": 10.0}


def test_the_cost_is_estimated_before_anything_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with judge_server(lambda *_: grade(1)) as asked:
        made = Judge("mine", config(asked, samples=2, **PRICES))
        expected = made.estimate(DOCUMENTS, TEXTS)
        assert not asked.requests and (expected.answers, expected.known) == (6, 0)
        made(["p"], ["first"], document=["one"])
        later = made.estimate(DOCUMENTS, TEXTS)
        assert (later.answers, later.known) == (4, 2)
        sent = [sum(len(m["content"]) for m in body["messages"]) for body in asked.bodies]
        assert expected.read - later.read == sum(sent) / 4 and expected.written == 6 * 60
        assert expected.cost == pytest.approx((2 * expected.read + 10 * expected.written) / 1e6)
        assert (expected + later).cost == pytest.approx(expected.cost + later.cost)
        assert (expected + Judge("x", config(asked)).estimate([], [])).cost is None
        assert Judge("x", config(asked, max_tokens=7)).estimate(["d"], ["t"]).written == 7
    said = capsys.readouterr().err
    assert "judge `mine` (m): 2 answers to ask for (0 are known), about" in said and "about 0.00 by the prices" in said


def test_nothing_is_asked_beyond_the_cost_that_is_allowed() -> None:
    with judge_server(lambda *_: grade(1)) as asked:
        one = Judge("x", config(asked, **PRICES)).estimate(["one"], ["first"]).cost
        made = Judge("mine", config(asked, **PRICES, max_cost=one * 1.5))
        made(["p"], ["first"], document=["one"])
        made(["p"], ["first"], document=["one"])
        with pytest.raises(InputError, match=r"would cost about \d\.\d\d by its estimate, and `max_cost` is"):
            made(["p"], ["second"], document=["two"])
        assert len(asked.requests) == 1


def test_a_reward_of_judged_features_is_fitted_with_everything_said_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": f"Say number {i}.", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(20)]
    data, file, out = tmp_path / "pairs.jsonl", tmp_path / "features.yaml", tmp_path / "reward"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file.write_text(
        "features:\n  near: {judge: {feature: relevance, samples: 1, retry_wait: 0}}\n"
        "  kind: {judge: {prompt: 'Is it kind?', samples: 1, retry_wait: 0}}\nnum_train_epochs: 20\n"
    )
    texts = {f"good {i}": 4 for i in range(20)} | {f"bad {i}": 2 for i in range(20)}
    with judge_server(by_text(texts)) as asked:
        monkeypatch.setenv("HOMESTRETCH_JUDGE_MODEL", "m")
        monkeypatch.setenv("OPENAI_BASE_URL", asked.url)
        fit = ["reward", "fit", str(data), "--kind", "features", "--settings", str(file), "--out", str(out)]
        assert run_command(fit) == 0
        said = capsys.readouterr()
        assert "2 judges: 80 answers to ask for (0 are known)" in said.err and KEY not in said.out + said.err
        assert len(asked.requests) == 80
        assert json.loads((out / "fit.json").read_text())["validation"]["accuracy"] == 1
        monkeypatch.setenv("HOMESTRETCH_JUDGE_MODEL", "another")
        assert run_command(["reward", "explain", str(out), str(data)]) == 0
        assert len(asked.requests) == 80, "the reward knows which model its features are of"
