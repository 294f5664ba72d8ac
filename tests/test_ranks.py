"""Two processes do what one does: the same numbers and weights to rounding, files of the first alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import ranked
import torch
from safetensors.torch import load_file
from test_loop import rows_of

from homestretch import collectives, ranks
from homestretch.collectives import from_first, gathered, mapped, merged, sum_in_place
from homestretch.data.files import RawRow
from homestretch.data.splits import Rejected, write_rejected
from homestretch.results import StageRecord
from homestretch.training import checkpoint
from homestretch.training.export import link_tree
from homestretch.training.logs import MetricsLog
from homestretch.writing import write_text

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


SHARDED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


def launched(out: Path, **environment: str) -> None:
    """The toy runs in two processes."""
    command = [*LAUNCH, str(Path(ranked.__file__)), str(out)]
    done = subprocess.run(command, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of every toy run in this process."""
    folder = tmp_path_factory.mktemp("one")
    for name, run in ranked.RUNS.items():
        run(folder / name)
    ranked.little_memory(folder / "little_memory")
    return folder


@pytest.fixture(scope="module")
def both(one: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of every toy run: in this process, and in two."""
    two = tmp_path_factory.mktemp("two")
    launched(two)
    return {"one": one, "two": two}


@pytest.fixture(scope="module")
def sharded(one: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of every toy run in two processes that share the weights out; `resumed` goes on from a checkpoint of one
    process, and `parted` is half of a run."""
    folder = tmp_path_factory.mktemp("sharded")
    ranked.parted(folder / "resumed")
    launched(folder, **SHARDED)
    return folder


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / f"checkpoint-{ranked.ROUNDS}" / "tensors.safetensors")


def equal_to_rounding(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    """Weights within a twentieth of one step of Adam, and a thousandth on average; moments within 1e-4."""
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        difference = (ours[key] - value).abs()
        if key.endswith("exp_avg"):
            assert difference.max() <= 1e-4 * value.abs().max() + 1e-7, key
        elif key.endswith(".step"):
            assert torch.equal(ours[key], value), key
        elif not key.startswith("optimizer."):
            assert difference.max() < 0.05 * ranked.RATE and difference.mean() < 1e-3 * ranked.RATE, key


def follows(folder: Path, expected: Path) -> None:
    """Both have the same rows and the same last checkpoint, to rounding."""
    rows = [[r for r in rows_of(run) if "micro_batch_tokens" not in r] for run in (folder, expected)]
    assert len(rows[0]) == len(rows[1]) == ranked.ROUNDS
    for ours, theirs in zip(*rows, strict=True):
        assert ours == pytest.approx(theirs, rel=2e-5, abs=1e-5)
    equal_to_rounding(tensors_of(folder), tensors_of(expected))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ranked.RUNS, "little_memory"])
def test_two_processes_follow_the_trajectory_of_one(both, name):
    follows(both["two"] / name, both["one"] / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ranked.RUNS)
def test_two_processes_with_sharded_weights_follow_the_trajectory_of_one(sharded, one, name):
    follows(sharded / name, one / name)


@pytest.mark.slow
def test_a_sharded_run_resumes_on_another_number_of_processes(sharded, one, tmp_path):
    follows(sharded / "resumed", one / "sft")
    shutil.copytree(sharded / "parted", tmp_path / "parted")
    assert len(rows_of(tmp_path / "parted")) == ranked.ROUNDS // 2
    ranked.sft(tmp_path / "parted")
    follows(tmp_path / "parted", one / "sft")


@pytest.mark.slow
def test_each_process_keeps_its_part_of_sharded_weights(sharded):
    kept = json.loads((sharded / "held.json").read_text())
    assert sum(kept) == pytest.approx(1) and max(kept) < 0.52  # 61 rows of the vocabulary make 31 and 30


@pytest.mark.slow
def test_a_process_that_runs_out_of_memory_cuts_its_own_rows_and_all_remember_it(both):
    for folder in both.values():
        shrunk = [row for row in rows_of(folder / "little_memory") if "micro_batch_tokens" in row]
        # rows have up to 6 tokens, so that two fit into 15 and hardly into the 12 that there is room for
        assert [row["micro_batch_tokens"] for row in shrunk][-1] == ranked.BUDGET // 4
        assert all(f"toy.micro_batch_tokens={row['micro_batch_tokens']}" in row["doctor"] for row in shrunk)
        assert checkpoint.read_state(folder / "little_memory" / "checkpoints" / "checkpoint-4")["budget"] == 7
    plain, halved = (tensors_of(both["one"] / name) for name in ("sft", "little_memory"))
    equal_to_rounding(halved, plain)


@pytest.mark.slow
def test_what_processes_tell_each_other(both):
    first, second = json.loads((both["two"] / "told.json").read_text())
    for told in (first, second):
        assert told["gathered"] == [0, 1] and told["merged"] == {"of 0": 0, "of 1": 1} and told["from_first"] == 0
        assert told["mapped"] == [0, 1, 4, 9, 16] and told["mapped one"] == [49]
        assert told["sums"] == [[3.0], [[10.0, 10.0], [10.0, 10.0]], [2.0**-8]]
    assert first["asked"] == [[0, 2, 4], [7]] and second["asked"] == [[1, 3]]
    assert first["work"] == second["work"] == [4, 12]
    assert first["apart"] == second["apart"] and "different weights" in first["apart"]
    assert first["alone"] == [[0], 0, 1, True] and second["alone"] == [[1], 0, 1, False]


def test_one_process_has_everything():
    assert gathered(3) == [3] and merged({1: 2}) == {1: 2} and from_first("a") == "a"
    assert mapped(lambda numbers: [-n for n in numbers], [1, 2]) == [-1, -2]
    tensors = [torch.ones(2)]
    sum_in_place(tensors)
    assert tensors[0].tolist() == [1, 1]
    assert (ranks.rank(), ranks.count(), ranks.is_first()) == (0, 1, True)


def test_sums_are_made_in_buckets_that_hold_every_tensor_once(monkeypatch):
    monkeypatch.setattr(collectives, "BUCKET", 5)
    tensors = [torch.ones(n) for n in (2, 3, 1, 9, 4, 1)]
    found = [[len(t) for t in bucket] for bucket in collectives._buckets(tensors)]
    assert found == [[2, 3], [1], [9], [4, 1]]


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    source = tmp_path / "source"
    checkpoint.save(source, {"a": torch.ones(1)}, {"round": 1})
    (tmp_path / "checkpoint-1").mkdir()
    MetricsLog(tmp_path / "metrics.jsonl").write(3, {"loss": 1.0})
    before = sorted(tmp_path.rglob("*"))
    for rank, changes in (("1", False), ("0", True)):
        monkeypatch.setenv("RANK", rank)
        checkpoint.save(tmp_path / "made", {"a": torch.ones(1)}, {})
        checkpoint.keep_only(tmp_path, source)
        link_tree(source, tmp_path / "linked")
        write_rejected(tmp_path / "rejected.jsonl", [Rejected(RawRow("a:1", {}), "bad")])
        write_text(tmp_path / "text", "x")
        StageRecord(name="sft").write(tmp_path / "stage.json")
        log = MetricsLog(tmp_path / "new" / "metrics.jsonl")
        log.write(1, {})
        MetricsLog(tmp_path / "metrics.jsonl").cut(2)
        left = sorted(tmp_path.rglob("*"))
        assert (left != before) == changes
        assert MetricsLog(tmp_path / "metrics.jsonl").rows() == ([] if changes else [{"step": 3, "loss": 1.0}])
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"source", "made", "linked", "rejected.jsonl", "text", "stage.json", "new", "metrics.jsonl"}
