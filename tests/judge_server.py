"""A stand-in for an OpenAI-compatible endpoint that behaves as it is told, badly included."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What is sent: `cut` bytes less than announced, `seconds` later."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    seconds: float = 0.0


def said(content: Any, **reply: Any) -> Reply:
    """A completion with this text."""
    return Reply(json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode(), **reply)


def grade(score: Any, **reply: Any) -> Reply:
    """A completion as it should be."""
    return said(json.dumps({"reason": "So it is.", "score": score}), **reply)


def failed(status: int, message: str = "no", code: str = "", **headers: str) -> Reply:
    """An error as such endpoints word it."""
    return Reply(json.dumps({"error": {"message": message, "code": code}}).encode(), status, headers)


@dataclass
class Asked:
    """Requests that have come, in order: path, headers, and the body as an object."""

    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    url: str = ""
    most_at_once: int = 0

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [body for _, _, body in self.requests]

    def texts(self) -> list[str]:
        """The text of each request, in order."""
        return [b["messages"][1]["content"].partition("<text>\n")[2].partition("\n</text>")[0] for b in self.bodies]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that has waited long enough is gone when the answer comes, on purpose."""


@contextmanager
def judge_server(behave: Callable[[int, dict[str, Any]], Reply | None]) -> Iterator[Asked]:
    """A server while the block runs; `behave` gives the reply to request n (from 0), None hangs up."""
    asked, lock, now = Asked(), threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(asked.requests)
                asked.requests.append((self.path, dict(self.headers), body))
                asked.times.append(time.monotonic())
                now[0] += 1
                asked.most_at_once = max(asked.most_at_once, now[0])
            try:
                reply = behave(number, body)
                time.sleep(reply.seconds if reply else 0)
            finally:
                with lock:  # before the answer is sent: who has it may ask again at once
                    now[0] -= 1
            self.answer(reply)

        def answer(self, reply: Reply | None) -> None:
            if reply is None:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body) + reply.cut), **reply.headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: Any) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    asked.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
