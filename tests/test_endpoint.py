"""One request to an endpoint that behaves badly: what is tried again, how long that waits, and what ends it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from judge_server import Asked, Reply, failed, grade, judge_server, said

from homestretch.config.extractors import JudgeConfig
from homestretch.rewards.endpoint import Endpoint, EndpointDown, Pace, Refused, Stopped
from homestretch.rewards.judge_prompts import SCHEMA, Unusable, score_of

KEY = "sk-very-secret"
MESSAGES = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def endpoint(asked: Asked, **settings: Any) -> Endpoint:
    given = {"retry_wait": 0, "timeout": 5, "max_retries": 2, "base_url": asked.url, **settings}
    return Endpoint("mine", JudgeConfig.parse({"model": "m", "feature": "relevance", **given}, where="here"))


def replies(*given: Reply | None) -> Callable[[int, dict[str, Any]], Reply | None]:
    """The given ones in order, the last one for ever."""
    return lambda number, _: given[min(number, len(given) - 1)]


def test_a_request_says_what_is_wanted_and_carries_the_key() -> None:
    with judge_server(replies(grade(4.5))) as asked:
        made = endpoint(asked, temperature=0.3, max_tokens=77, base_url=f"{asked.url}/")
        assert made.ask(MESSAGES, score_of) == 4.5
    [(path, headers, body)] = asked.requests
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    expected = {"model": "m", "messages": MESSAGES, "temperature": 0.3, "max_tokens": 77}
    assert body == expected | {"response_format": {"type": "json_schema", "json_schema": SCHEMA}}


@pytest.mark.parametrize(("wanted", "sent"), [("json_object", {"type": "json_object"}), ("text", None)])
def test_other_ways_to_ask_for_json(wanted: str, sent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "")
    with judge_server(replies(grade(1))) as asked:
        endpoint(asked, response_format=wanted, api_key_env="MY_KEY").ask(MESSAGES, score_of)
    assert asked.bodies[0].get("response_format") == sent and "Authorization" not in asked.requests[0][1]


BAD = {
    "it hangs up": None,
    "too many requests": failed(429),
    "overloaded": failed(503),
    "a proxy's page": Reply(b"<html>bad gateway</html>", 502),
    "truncated body": grade(4, cut=50),
    "truncated JSON": Reply(b'{"choices": [{"message": {"content": "{'),
    "HTML and all is well": Reply(b"<html>"),
    "no choices": Reply(b"{}"),
    "no text": said(None),
    "prose": said("About four, I would say."),
    "cut off by max_tokens": said('{"reason": "It is a long'),
    "wrong scale": grade(87),
    "not a number": said('{"reason": "r", "score": NaN}'),
}


@pytest.mark.parametrize("name", BAD)
def test_what_may_pass_is_tried_again(name: str) -> None:
    with judge_server(replies(BAD[name], BAD[name], grade(2.5))) as asked:
        assert endpoint(asked).ask(MESSAGES, score_of) == 2.5
    assert len(asked.requests) == 3


def test_a_timeout_is_tried_again() -> None:
    with judge_server(replies(grade(1, seconds=0.5), grade(2))) as asked:
        assert endpoint(asked, timeout=0.1).ask(MESSAGES, score_of) == 2


@pytest.mark.parametrize("name", BAD)
def test_in_the_end_it_is_given_up(name: str) -> None:
    unusable = name in ("no choices", "no text", "prose", "cut off by max_tokens", "wrong scale", "not a number")
    with judge_server(replies(BAD[name])) as asked:
        with pytest.raises(Unusable if unusable else EndpointDown) as error:
            endpoint(asked).ask(MESSAGES, score_of)
        assert len(asked.requests) == 3
        if not unusable:
            assert str(error.value).startswith(f"The judge `mine` at {asked.url} cannot be asked (")
            assert str(error.value).endswith("; tries: 3)")


def test_an_endpoint_that_is_not_there_is_named() -> None:
    with judge_server(replies(grade(1))) as asked:
        pass
    with pytest.raises(EndpointDown, match=r"127\.0\.0\.1:\d+/v1 cannot be asked \(.*refused.*; tries: 1\)"):
        endpoint(asked, max_retries=0).ask(MESSAGES, score_of)


ENDS = [
    (failed(402, "pay first"), r"has no credit left \(402 pay first\)"),
    (failed(429, "quota exceeded", "insufficient_quota"), r"has no credit left \(429 quota exceeded insufficient_quo"),
    (failed(429, f"{'Long and wide. ' * 20}Check your billing details."), r"has no credit left \(429 Long and wide"),
    (failed(401, "who are you"), r"refuses the key in OPENAI_API_KEY \(401 who are you\)"),
    (failed(403), r"refuses the key in OPENAI_API_KEY"),
    (failed(404, "no such model"), r"refuses the request \(404 no such model\); check `model` and `base_url`"),
    (Reply(b'["odd"]', 418), r"refuses the request \(418 \[\"odd\"\]\)"),
]


@pytest.mark.parametrize(("reply", "sentence"), ENDS)
def test_what_will_not_pass_ends_at_once(reply: Reply, sentence: str) -> None:
    with judge_server(replies(reply)) as asked, pytest.raises(EndpointDown, match=sentence):
        endpoint(asked).ask(MESSAGES, score_of)
    assert len(asked.requests) == 1


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (failed(400, "maximum context length is 9 tokens"), "400 maximum context length is 9 tokens"),
        (Reply(b"too large", 413), "413 too large"),
        (Reply(b"plain words", 422), "422 plain words"),
    ],
)
def test_what_may_be_wrong_with_one_request_ends_that_one(reply: Reply, sentence: str) -> None:
    with judge_server(replies(reply, grade(3))) as asked:
        made = endpoint(asked)
        with pytest.raises(Refused, match=f"^it refuses the request: {sentence}$"):
            made.ask(MESSAGES, score_of)
        assert len(asked.requests) == 1 and made.ask(MESSAGES, score_of) == 3


NEW_NAME = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


def test_an_endpoint_that_wants_the_limit_under_its_new_name_gets_it() -> None:
    def behave(_: int, body: dict[str, Any]) -> Reply:
        return failed(400, NEW_NAME, "unsupported_parameter") if "max_tokens" in body else grade(3)

    with judge_server(behave) as asked:
        made = endpoint(asked, max_retries=0, max_tokens=77)
        assert [made.ask(MESSAGES, score_of) for _ in range(2)] == [3, 3]
    assert [(b.get("max_tokens"), b.get("max_completion_tokens")) for b in asked.bodies] == [
        (77, None), (None, 77), (None, 77)
    ]  # fmt: skip
    with judge_server(replies(failed(400, NEW_NAME))) as asked:
        made = endpoint(asked)
        for requests in (2, 3):
            with pytest.raises(Refused, match="max_completion_tokens"):
                made.ask(MESSAGES, score_of)
            assert len(asked.requests) == requests, "it is asked under either name once"


def test_without_a_key_a_refusal_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with judge_server(replies(failed(401))) as asked, pytest.raises(EndpointDown, match="there is none in OPENAI_API"):
        endpoint(asked).ask(MESSAGES, score_of)


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_key_that_the_endpoint_repeats_is_cut_out(status: int) -> None:
    echo = failed(status, f"bad key {KEY}, {KEY}")
    ends = (EndpointDown, Refused)
    with judge_server(replies(echo)) as asked, pytest.raises(ends, match=r"bad key \*\*\*, \*\*\*") as error:
        endpoint(asked, max_retries=0).ask(MESSAGES, score_of)
    assert KEY not in str(error.getrepr(style="long"))


def test_a_key_that_is_none_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "very\nsecret")
    with judge_server(replies(grade(1))) as asked, pytest.raises(EndpointDown, match="holds no key") as error:
        endpoint(asked).ask(MESSAGES, score_of)
    assert "secret" not in str(error.value) and not asked.requests


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_is_not_followed_so_that_the_key_stays(status: int) -> None:
    with judge_server(replies(grade(1))) as other:
        elsewhere, says = Reply(b"", status, {"Location": f"{other.url}/chat/completions"}), rf"request \({status}"
        with judge_server(replies(elsewhere)) as asked, pytest.raises(EndpointDown, match=says):
            endpoint(asked).ask(MESSAGES, score_of)
    assert not other.requests


def waits_of(made: Endpoint, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(made.stop, "wait", lambda seconds: waits.append(seconds) or False)
    return waits


def test_waits_double_up_to_a_minute_and_are_no_shorter_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calm, patient, odd = failed(503), failed(429, Retry_After="7.5"), failed(429, Retry_After="Fri, 31 Dec 1999 23:59")
    with judge_server(replies(calm, patient, odd, calm, calm, calm, calm, grade(1))) as asked:
        made = endpoint(asked, retry_wait=2, max_retries=9)
        waits = waits_of(made, monkeypatch)
        made.ask(MESSAGES, score_of)
    assert [seconds for seconds in waits if seconds] == [2, 7.5, 8, 16, 32, 60, 60]


QUOTA = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("reply", "wait"),
    [
        (failed(429, f"{QUOTA} {'See the page about limits. ' * 9}Please retry in 20.04s."), 20.04),
        (failed(429, f"{QUOTA} Try again later."), 2),
        (failed(429, QUOTA, Retry_After="7"), 7),
        (failed(429, "Rate limit reached. Please try again in 120ms."), 2),
    ],
)
def test_a_rate_limit_that_speaks_of_billing_passes(reply: Reply, wait: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with judge_server(replies(reply, grade(3))) as asked:
        made = endpoint(asked, retry_wait=2)
        waits = waits_of(made, monkeypatch)
        assert made.ask(MESSAGES, score_of) == 3
    assert [seconds for seconds in waits if seconds] == [wait]


def test_a_turn_is_waited_for_however_late_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with judge_server(replies(grade(3))) as asked:
        made = endpoint(asked, requests_per_minute=0.5)
        waits = waits_of(made, monkeypatch)
        for _ in range(3):
            made.ask(MESSAGES, score_of)
    assert waits == [0, pytest.approx(120, abs=5), pytest.approx(240, abs=5)]


def test_stop_ends_a_wait() -> None:
    with judge_server(replies(failed(503))) as asked:
        made = endpoint(asked, retry_wait=30)
        threading.Timer(0.1, made.stop.set).start()
        begun = time.monotonic()
        with pytest.raises(Stopped):
            made.ask(MESSAGES, score_of)
    assert time.monotonic() - begun < 5


def test_begins_of_requests_are_spread_evenly_over_a_minute() -> None:
    now = [100.0]
    pace = Pace(30, clock=lambda: now[0])
    assert [pace.delay() for _ in range(3)] == [0, 2, 4]
    now[0] = 105.0
    assert pace.delay() == 1
    now[0] = 200.0
    assert [pace.delay(), pace.delay()] == [0, 2]
    free = Pace(None, clock=lambda: now[0])
    assert [free.delay() for _ in range(3)] == [0, 0, 0]


def test_a_text_that_no_encoding_has_is_sent_all_the_same() -> None:
    with judge_server(replies(grade(1))) as asked:
        endpoint(asked).ask([{"role": "user", "content": "\ud800 \u20ac"}], score_of)
    assert json.dumps(asked.bodies[0]["messages"][0]["content"]) == '"\\ud800 \\u20ac"'
