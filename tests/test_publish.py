"""`push_to_hub` against a stand-in of the Hub on this machine: what arrives, and the sentence where nothing does."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from homestretch.errors import InputError
from homestretch.training.publish import check_token, publish

CARD = "---\nlibrary_name: transformers\n---\n\n# mine\n"


class Hub(ThreadingHTTPServer):
    """Keeps the files of every commit, by repository, and the authorisation of every request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.files: dict[str, dict[str, bytes]] = {}
        self.authorised: set[str | None] = set()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    """The four requests that an upload of small files makes."""

    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.authorised.add(self.headers["Authorization"])
        path = self.path.split("?")[0]
        if path == "/api/repos/create":
            name = f"somebody/{json.loads(body)['name'].split('/')[-1]}"
            self.server.files.setdefault(name, {})
            return self.say({"url": f"{self.server.url}/{name}", "name": name})
        if path == "/api/validate-yaml":
            return self.say({"errors": [], "warnings": []})
        name, what = path.removeprefix("/api/models/").removesuffix("/main").rsplit("/", 1)
        if what == "preupload":
            sent = json.loads(body)["files"]
            kept = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            return self.say({"files": [{"path": f["path"], **kept} for f in sent]})
        assert what == "commit", self.path
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.server.files[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return self.say({"commitUrl": f"{self.server.url}/{name}/commit/1", "commitOid": "1", "pullRequestUrl": None})

    def do_GET(self) -> None:
        self.say({"id": "somebody/mine", "sha": "0", "siblings": []})

    def say(self, answer: dict[str, object]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "adapter").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "config.json").write_text("{}")
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(bytes(range(64)))
    return folder


@pytest.mark.parametrize("name", ["mine", "somebody/mine"])
def test_every_file_of_the_model_arrives_and_the_card_with_them(hub: Hub, model: Path, name: str) -> None:
    publish(model, name)
    sent = {str(p.relative_to(model)): p.read_bytes() for p in model.rglob("*") if p.is_file()}
    assert hub.files == {"somebody/mine": sent}
    assert sent["README.md"].decode() == CARD
    assert hub.authorised == {"Bearer hf_secret"}


def test_a_hub_that_is_away_is_one_sentence_and_the_model_stays(hub: Hub, model: Path) -> None:
    hub.shutdown()
    hub.server_close()
    with pytest.raises(InputError, match=r"its model is in .*model, but it could not be uploaded as `mine`") as caught:
        publish(model, "mine")
    assert "only the upload is left" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert (model / "README.md").read_text() == CARD


def test_all_that_the_hub_says_is_passed_on(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError('Bad request.\n\nInvalid metadata in README.md.\n- "base_model" must be a model id\n')

    monkeypatch.setattr("homestretch.training.publish.HfApi.upload_folder", refuse)
    said = r"\(Bad request. Invalid metadata in README.md. - \"base_model\" must be a model id\); log in"
    with pytest.raises(InputError, match=said):
        publish(model, "mine")


def test_a_name_that_the_hub_does_not_allow(hub: Hub, model: Path) -> None:
    with pytest.raises(InputError, match=r"could not be uploaded as `no/such/name`"):
        publish(model, "no/such/name")
    assert hub.files == {}


def test_without_a_token_a_run_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(InputError, match="no token for the Hub; log in with `hf auth login`, or set HF_TOKEN"):
        check_token()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    check_token()
