"""Rewards of text that a model has scored before: by the content of model and text, in the user's cache.

One SQLite file, `rewards.sqlite` in the folder of `policies.builtin.cache_dir`, serves every run: a second method on
the same data, another seed or a run that was killed asks the model for nothing that it has answered. Every entry has a
digest: one that a disk has damaged is asked for again, and a file that is no database any more is refused. Only models
are remembered. What a function gives can hang on more than its text and its file, so it is asked again by each stage;
methods of one comparison share what a stage has found.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from transformers.utils.hub import CHAT_TEMPLATE_DIR

from homestretch import ranks
from homestretch.collectives import from_first
from homestretch.errors import InputError
from homestretch.policies.builtin import cache_dir
from homestretch.policies.load import commit_of, resolve

FILE = "rewards.sqlite"
AT_ONCE = 512
"""Texts that are scored before their rewards are written, so that a killed run loses no more than these."""
NEVER_READ = (".md", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".ot", ".gguf")
"""Endings of what no loading reads: cards, states of optimisers, weights of other libraries. All else may be read, also
by code of the model's own: weights, settings, vocabularies of any kind, templates, modules."""
LOOKED_UP = 500
"""Keys of one query: fewer than the 999 variables that an old SQLite takes."""
PATIENCE = 60.0
"""Seconds to wait for another process that writes."""


def content_key(*parts: object) -> str:
    """A name for what the parts say."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def model_key(name_or_path: str, *, revision: str | None = None) -> str:
    """A name for the content of a model: of the files that loading it may read, or of its commit on the Hub. Raises
    InputError."""
    folder = Path(resolve(name_or_path))
    if not folder.is_dir():
        return content_key(name_or_path, commit_of(name_or_path, revision=revision))
    digests = []
    for file in sorted(_read_of(folder)):
        with file.open("rb") as handle:
            digests.append((file.relative_to(folder).as_posix(), hashlib.file_digest(handle, "blake2b").hexdigest()))
    return content_key(digests)


def _read_of(folder: Path) -> list[Path]:
    """The files that loading may read: those of the folder itself, and chat templates beside the usual one. Other
    folders in it, an adapter whose weights are merged or the checkpoints of a training, are not read."""
    files = [*folder.iterdir(), *(folder / CHAT_TEMPLATE_DIR).glob("*")]
    return [f for f in files if f.is_file() and f.suffix not in NEVER_READ and not f.name.startswith(".")]


def scored_once(
    scorer: str, texts: Sequence[str], ask: Callable[[list[int]], Sequence[float | None]]
) -> list[float | None]:
    """A reward for each text: the one that is known for it under this scorer, or else what `ask` gives for its index.

    `scorer` and `texts` are content keys. Of equal texts one is asked for. Every process comes to the same calls of
    `ask`; the first one reads and writes, and in a block `ranks.alone()` each for itself. Raises InputError where the
    cache cannot be used.
    """
    known = from_first(remembered(scorer, texts) if ranks.rank() == 0 else {})
    first = {text: i for i, text in reversed(list(enumerate(texts))) if text not in known}
    missing = sorted(first.values())
    for at in range(0, len(missing), AT_ONCE):
        part = missing[at : at + AT_ONCE]
        new = dict(zip((texts[i] for i in part), ask(part), strict=True))
        known |= new
        if ranks.rank() == 0:
            remember(scorer, new)
    return [known[text] for text in texts]


def remembered(scorer: str, texts: Sequence[str]) -> dict[str, float | None]:
    """The rewards that are known for some of the texts. Raises InputError where the cache cannot be used."""
    wanted = sorted(set(texts))
    known: dict[str, float | None] = {}
    with _table() as table:
        for at in range(0, len(wanted), LOOKED_UP):
            part = wanted[at : at + LOOKED_UP]
            which = f"scorer = ? AND text IN ({', '.join('?' * len(part))})"
            rows = table.execute(f"SELECT text, reward, digest FROM checked_rewards WHERE {which}", (scorer, *part))
            known |= {t: reward for t, reward, digest in rows if digest == _digest(scorer, t, reward)}
    return known


def remember(scorer: str, rewards: Mapping[str, float | None]) -> None:
    """Keep rewards by the keys of their texts. Raises InputError where the cache cannot be used."""
    with _table() as table:
        rows = [(scorer, text, reward, _digest(scorer, text, reward)) for text, reward in rewards.items()]
        table.executemany("INSERT OR REPLACE INTO checked_rewards VALUES (?, ?, ?, ?)", rows)


def _digest(scorer: str, text: str, reward: float | None) -> str:
    # SQLite gives 1.0 back for 1, and 0.0 for -0.0; a damaged entry may even be text.
    return content_key(scorer, text, reward + 0.0 if isinstance(reward, int | float) else reward)


@contextmanager
def _table() -> Iterator[sqlite3.Connection]:
    file = cache_dir() / FILE
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=PATIENCE)) as connection, connection:
            columns = "scorer TEXT, text TEXT, reward REAL, digest TEXT, PRIMARY KEY (scorer, text)"
            connection.execute(f"CREATE TABLE IF NOT EXISTS checked_rewards ({columns}) WITHOUT ROWID")
            yield connection
    except (OSError, sqlite3.Error) as error:
        raise InputError(
            f"{file}: rewards cannot be kept there ({error}); delete it, or set HOMESTRETCH_CACHE to another folder."
        ) from None
