"""An OpenAI-compatible endpoint (`POST base_url/chat/completions`): paced, retried, and patient with bad answers.

    wait before try k = max(retry_wait 2^(k-1), what the endpoint asks for), at most a minute;   k = 1, 2, ...

Tried again: no connection, a timeout, a body that breaks off, 408, 409, 425, 429 and 5xx, an answer that is not what
was asked for. Not tried again: no credit, a refused key and an unknown model, which end everything, and 400, 413 and
422, which end one request: another text may be short enough. The key goes into one header, to this address alone
(redirects are not followed), and is cut out of whatever the endpoint says.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from typing import IO, Any, TypeVar
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from homestretch.config.extractors import JudgeConfig
from homestretch.errors import InputError
from homestretch.rewards.judge_prompts import SCHEMA, Unusable

T = TypeVar("T")

LONGEST_WAIT = 60.0
LONGEST_BODY = 1 << 20
AGAIN = frozenset({408, 409, 425, 429, *range(500, 600)})
ONE_REQUEST = frozenset({400, 413, 422})
LIMIT, NEW_LIMIT = "max_tokens", "max_completion_tokens"
"""What most endpoints call the longest answer, and what OpenAI's reasoning models want it called."""
WILL_PASS = ("retry in", "try again")
"""What a rate limit says; some of them speak of quota and billing as well."""
NO_CREDIT = ("insufficient_quota", "insufficient_credit", "insufficient credit", "insufficient balance", "billing")
FORMATS: Mapping[str, Mapping[str, Any]] = {
    "json_schema": {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    "json_object": {"response_format": {"type": "json_object"}},
    "text": {},
}


class EndpointDown(InputError):
    """The endpoint cannot go on: it is not there, has no credit left, or refuses whatever it is asked."""


class Refused(Exception):
    """The endpoint does not take this request, because it is too long for example; the message says why."""


class Stopped(Exception):
    """Another thread has found that the endpoint cannot go on."""


class _Again(Exception):
    """A request that failed in a way that may pass; `after` is how many seconds the endpoint asks to be left alone."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None: urllib would send the key on to wherever it is pointed to."""


class Endpoint:
    """Asks for chat completions, from any number of threads. `stop` makes all of them give up."""

    def __init__(self, name: str, config: JudgeConfig) -> None:
        self.name, self.config = name, config
        self.stop = threading.Event()
        self._opener = build_opener(_NoRedirect)
        self._pace = Pace(config.requests_per_minute)
        self._limit = LIMIT

    def ask(self, messages: Sequence[Mapping[str, str]], read: Callable[[str], T]) -> T:
        """What `read` makes of an answer.

        Raises Unusable where `read` did so for every answer, Refused where this request is not taken, EndpointDown
        where the endpoint cannot go on, and Stopped.
        """
        failure: Exception | None = None
        for attempt in range(self.config.max_retries + 1):
            if failure is not None:
                after = failure.after if isinstance(failure, _Again) else 0.0
                self._wait(min(max(self.config.retry_wait * 2 ** (attempt - 1), after), LONGEST_WAIT))
            self._wait(self._pace.delay())
            try:
                return read(_content(self._post(messages)))
            except (_Again, Unusable) as error:
                failure = error
        if isinstance(failure, Unusable):
            raise failure
        tries = self.config.max_retries + 1
        raise EndpointDown(f"{self._who} cannot be asked ({failure}; tries: {tries})")

    @property
    def _who(self) -> str:
        return f"The judge `{self.name}` at {self.config.base_url}"

    def _wait(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Stopped

    def _post(self, messages: Sequence[Mapping[str, str]]) -> bytes:
        limit = self._limit
        try:
            return self._sent(messages, limit)
        except Refused as error:
            if limit == NEW_LIMIT or NEW_LIMIT not in str(error):
                raise
        self._limit = NEW_LIMIT
        self._wait(self._pace.delay())
        return self._sent(messages, NEW_LIMIT)

    def _sent(self, messages: Sequence[Mapping[str, str]], limit: str) -> bytes:
        asked = {
            "model": self.config.model,
            "messages": list(messages),
            "temperature": self.config.temperature,
            limit: self.config.max_tokens,
            **FORMATS[self.config.response_format],
        }
        headers = {"Content-Type": "application/json", "User-Agent": "homestretch"}
        if key := self._key:
            headers["Authorization"] = f"Bearer {key}"
        url = f"{self.config.base_url.rstrip('/')}/chat/completions"
        request = Request(url, data=json.dumps(asked).encode(), headers=headers)
        try:
            with self._opener.open(request, timeout=self.config.timeout) as answer:
                body = bytes(answer.read(LONGEST_BODY))
                if answer.length:  # what was announced and has not come; reading by size does not mind
                    raise _Again("the answer breaks off")
                return body
        except HTTPError as error:
            with error:
                raise self._failed(error) from None
        except (OSError, HTTPException) as error:
            raise _Again(self._clean(str(error) or type(error).__name__)) from None

    @property
    def _key(self) -> str:
        key = os.environ.get(self.config.api_key_env, "").strip()
        if not (key.isascii() and key.isprintable() and " " not in key):
            # http.client would say so itself, and repeat the key.
            raise EndpointDown(f"{self._who} takes its key from {self.config.api_key_env}, which holds no key")
        return key

    def _failed(self, error: HTTPError) -> Exception:
        message, asked = _message(error), error.headers.get("Retry-After")
        status = f"{error.code} {self._clean(message)}".strip()
        will_pass = error.code == 429 and (asked is not None or _has(message, WILL_PASS))
        if error.code == 402 or (error.code in (403, 429) and _has(message, NO_CREDIT) and not will_pass):
            return EndpointDown(f"{self._who} has no credit left ({status})")
        if error.code in AGAIN:
            return _Again(status, max(_seconds(asked), _seconds(_said(message))))
        if error.code in (401, 403):
            what = "refuses the key in" if self._key else "wants a key, and there is none in"
            return EndpointDown(f"{self._who} {what} {self.config.api_key_env} ({status})")
        if error.code in ONE_REQUEST:
            return Refused(f"it refuses the request: {status}")
        return EndpointDown(f"{self._who} refuses the request ({status}); check `model` and `base_url`")

    def _clean(self, text: str) -> str:
        text = " ".join(text.split())
        return (text.replace(self._key, "***") if self._key else text)[:200].rstrip(". ")


class Pace:
    """Begins of requests, evenly spread."""

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.gap, self.clock = 60 / per_minute if per_minute else 0.0, clock
        self._lock, self._next = threading.Lock(), 0.0

    def delay(self) -> float:
        """Seconds until the next request may begin, whose turn is then taken."""
        with self._lock:
            now = self.clock()
            turn = max(now, self._next)
            self._next = turn + self.gap
            return turn - now


def _content(body: bytes) -> str:
    """The text of an answer. Raises _Again for a body that is broken, Unusable for one without text."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise _Again("the endpoint's own JSON breaks off, or is none") from None
    try:
        content = answer["choices"][0]["message"]["content"]
    except (LookupError, TypeError):
        content = None
    if not isinstance(content, str):
        raise Unusable("the endpoint's answer has no text")
    return content


def _message(answer: IO[bytes]) -> str:
    """What an endpoint says of its error: its code and message, or the start of whatever it sends."""
    try:
        body = answer.read(LONGEST_BODY).decode("utf-8", "replace")
    except (OSError, HTTPException):
        return ""
    try:
        error = json.loads(body)["error"]
        return f"{error['message']} {error.get('code') or ''}" if isinstance(error, dict) else str(error)
    except (ValueError, LookupError, TypeError, RecursionError):
        return body


def _has(message: str, signs: Sequence[str]) -> bool:
    return any(sign in message.lower() for sign in signs)


def _said(message: str) -> str | None:
    """The seconds of `Please retry in 20.04s`."""
    found = re.search(r"(?:retry|try again) in (\d+(?:\.\d+)?) ?s", message, re.IGNORECASE)
    return found and found.group(1)


def _seconds(header: str | None) -> float:
    try:
        given = float(header or 0)
    except ValueError:  # a date: our own waits will do
        return 0.0
    return given if given > 0 else 0.0  # NaN is not
