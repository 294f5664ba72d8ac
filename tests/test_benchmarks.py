"""The harness of the benchmarks: rounds alternate, ratios are by round, a worker answers or its end is told."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
SPEC = importlib.util.spec_from_file_location("harness", FOLDER / "harness.py")
assert SPEC and SPEC.loader
harness = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(harness)


def test_rounds_alternate_and_the_first_of_each_way_is_not_counted():
    calls: list[str] = []

    def way(name: str, rates: list[float]):
        def work() -> float:
            calls.append(name)
            return rates.pop(0)

        return work

    found = harness.interleaved({"a": way("a", [9, 1, 2]), "b": way("b", [9, 3, 4])}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert found == {"a": [1, 2], "b": [3, 4]}


def test_ratios_are_taken_round_by_round():
    # the machine is twice as slow in the second round, for both
    found = harness.ratio_of([30.0, 15.0, 33.0], [10.0, 5.0, 10.0])
    assert found["ratio"] == pytest.approx(3.0)
    assert 3.0 <= found["low"] <= found["ratio"] <= found["high"] <= 3.3


def test_a_worker_answers_and_its_death_is_told(tmp_path, monkeypatch):
    protocol = FOLDER / "workers" / "protocol.py"
    (tmp_path / "protocol.py").write_text(protocol.read_text())
    (tmp_path / "counts.py").write_text(
        "import sys\nfrom protocol import serve\nleft = [2.5]\n"
        "def work():\n    print('noise')\n    return left.pop() * float(sys.argv[1])\nserve(work)\n"
    )
    monkeypatch.setattr(harness, "WORKERS", tmp_path)
    worker = harness.Worker(sys.executable, "counts.py", "2")
    assert worker() == 5.0
    assert worker.peak_bytes > 1 << 20
    with pytest.raises(RuntimeError, match="ended"):
        worker()
    worker.stop()


def test_the_steady_rate_leaves_out_what_came_before_the_first_step():
    spec = importlib.util.spec_from_file_location("protocol", FOLDER / "workers" / "protocol.py")
    assert spec and spec.loader
    protocol = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(protocol)
    assert protocol.steady_rate([100.0, 160.0, 220.0], [50.0, 53.0, 56.0]) == pytest.approx(20.0)


def test_make_bench_runs_files_that_are_there():
    line = next(x for x in (FOLDER.parent / "Makefile").read_text().splitlines() if x.startswith("BENCHMARKS = "))
    names = line.partition(" = ")[2].split()
    assert {"sft", "ppo", "rloo", "dpo"} <= set(names)
    assert [name for name in names if not (FOLDER / f"{name}.py").is_file()] == []


def test_the_worse_response_of_a_pair_is_the_reference_of_the_next_prompt(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("bench_dpo", FOLDER / "dpo.py")
    assert spec and spec.loader
    dpo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dpo)
    rows = [{"prompt": p, "completion": c} for p, c in (("a", "1"), ("b", "2"), ("c", "2"))]
    assert dpo.paired(rows) == [
        {"prompt": "a", "chosen": "1", "rejected": "2"},
        {"prompt": "c", "chosen": "2", "rejected": "1"},
    ]
