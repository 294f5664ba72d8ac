"""The harness of the benchmarks: rounds alternate, ratios are by round, a worker answers or its end is told."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from homestretch.config.recipe import load_recipe

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


def test_rounds_that_leave_out_their_own_first_step_are_all_counted():
    assert harness.interleaved({"a": iter([5.0, 6.0]).__next__}, rounds=2, warm_up=0) == {"a": [5.0, 6.0]}


def test_every_round_of_a_worker_is_a_new_process_and_its_failure_is_told(tmp_path, monkeypatch):
    protocol = FOLDER / "workers" / "protocol.py"
    (tmp_path / "protocol.py").write_text(protocol.read_text())
    (tmp_path / "counts.py").write_text(
        "import sys\nfrom protocol import answer\nleft = [2.5]\n"
        "def work():\n    print('noise')\n    return left.pop() * float(sys.argv[1])\nanswer(work)\n"
    )
    monkeypatch.setattr(harness, "WORKERS", tmp_path)
    worker = harness.Worker(sys.executable, "counts.py", "2")
    assert [worker(), worker()] == [5.0, 5.0]
    assert worker.peak_bytes > 1 << 20
    with pytest.raises(RuntimeError, match="ended with 1"):
        harness.Worker(sys.executable, "counts.py", "two")()


def test_the_steady_rate_leaves_out_what_came_before_the_first_step():
    spec = importlib.util.spec_from_file_location("protocol", FOLDER / "workers" / "protocol.py")
    assert spec and spec.loader
    protocol = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(protocol)
    assert protocol.steady_rate([100.0, 160.0, 220.0], [50.0, 53.0, 56.0]) == pytest.approx(20.0)


def test_make_bench_runs_files_that_are_there():
    line = next(x for x in (FOLDER.parent / "Makefile").read_text().splitlines() if x.startswith("BENCHMARKS = "))
    names = line.partition(" = ")[2].split()
    assert {"sft", "ppo", "rloo", "dpo", "distill", "scaling"} <= set(names)
    assert [name for name in names if not (FOLDER / f"{name}.py").is_file()] == []


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("bench_scaling", FOLDER / "scaling.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_scaling", module)
    spec.loader.exec_module(module)
    return module


def test_an_exponent_is_that_of_the_power(scaling):
    assert scaling.exponent([2, 4, 8], [3 * 2**1.5, 3 * 4**1.5, 3 * 8**1.5]) == pytest.approx(1.5)
    assert scaling.exponent([2, 4, 8], [7, 7, 7]) == pytest.approx(0)


def test_the_points_of_every_curve_are_recipes_that_differ_in_one_thing(scaling, tmp_path):
    scaling.write_data(tmp_path)
    for curve in scaling.curves(2):
        made = [load_recipe(str(scaling.RECIPE), scaling.overrides(curve, v, tmp_path, None)) for v in curve.values]
        stages = [recipe.stages[0].config for recipe in made]
        if curve.setting == "length":
            assert [Path(recipe.dataset.name).stem for recipe in made] == [str(v) for v in curve.values]
        elif curve.setting == "prompts":
            assert [s.rollout_batch_size // s.num_generations for s in stages] == list(curve.values)
        else:
            assert [getattr(s, curve.setting) for s in stages] == list(curve.values)
        assert all(s.train_batch_size <= scaling.ROWS and s.bf16 is False for s in stages)


def test_prompts_have_the_tokens_that_they_say(scaling, tmp_path):
    scaling.write_data(tmp_path)
    for length in (64, 256):
        prompts = [json.loads(line)["prompt"] for line in (tmp_path / f"{length}.jsonl").read_text().splitlines()]
        assert len(set(prompts)) == scaling.ROWS
        assert {len(prompt.split()) for prompt in prompts} == {length}


def test_the_ratio_is_that_of_predicted_to_measured_peaks(scaling, capsys):
    curve = scaling.Curve("LoRA", "micro_batch_tokens", (1, 2, 3))
    found = [{"predicted": p, "peak": 10e9} for p in (8e9, 9e9, 13e9)]
    case = scaling.checked("memory", ("predicted", "peak"), 1e9, [(curve, found)])
    assert (case["ratio"], case["low"], case["high"]) == (0.9, 0.8, 1.3)
    assert "0.80" in capsys.readouterr().out


def test_what_is_printed_last_is_kept(tmp_path, capsys):
    harness.finish("made", [{"case": "a", "ratio": 2.0}], save=tmp_path / "results" / "made.json")
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads((tmp_path / "results" / "made.json").read_text()) == last
    assert (last["name"], last["ratio"], last["cases"]) == ("made", 2.0, [{"case": "a", "ratio": 2.0}])


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


def test_the_cases_of_one_peer_are_timed_in_turn_with_it(capsys):
    order: list[str] = []

    class Fixed:
        def __init__(self, name: str, rate: float, peak_bytes: int) -> None:
            self.name, self.rate, self.peak_bytes = name, rate, peak_bytes

        def __call__(self) -> float:
            order.append(self.name)
            return self.rate

    ours = {"lora": Fixed("lora", 30.0, 2_000_000_000), "full": Fixed("full", 20.0, 4_000_000_000)}
    lora, full = harness.against_trl("rows/s", ours, Fixed("TRL", 10.0, 8_000_000_000), rounds=2)
    assert order == ["lora", "full", "TRL"] * 2
    assert (lora["case"], lora["ratio"], lora["rounds"], lora["peer"]) == ("lora", pytest.approx(3.0), 2, "TRL")
    assert (lora["memory_ratio"], full["memory_ratio"], full["ratio"]) == (0.25, 0.5, pytest.approx(2.0))
    assert "peak memory: 2.0 GB against 8.0 GB" in capsys.readouterr().out


def script(monkeypatch: pytest.MonkeyPatch, name: str, place: str) -> ModuleType:
    """A script below `benchmarks` as a module; it finds what lies beside it."""
    monkeypatch.syspath_prepend(str((FOLDER / place).parent))
    spec = importlib.util.spec_from_file_location(name, FOLDER / place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_of_distillation_are_cut_and_each_prompt_is_there_once(monkeypatch, tmp_path):
    distill = script(monkeypatch, "bench_distill", "distill.py")
    rows = [{"prompt": p, "completion": c} for p, c in (("a b c", "1 2 3"), ("a b d", "4"), ("e", "5"), ("f", "6"))]
    assert distill.shortened(rows, (2, 2)) == [
        {"prompt": "a b", "completion": "1 2"},
        {"prompt": "e", "completion": "5"},
        {"prompt": "f", "completion": "6"},
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(distill, "FILES", tmp_path / "made")
    folder = distill.written(tmp_path, "rows", 1, (2, 2))
    parts = {split: (folder / f"{split}.jsonl").read_text() for split in ("train", "validation", "test")}
    assert {split: json.loads(text)["prompt"] for split, text in parts.items()} == {
        "train": "a b", "validation": "e", "test": "f"
    }  # fmt: skip


@pytest.mark.parametrize("source", ["data", "online_student", "offline"])
def test_distillation_is_timed_by_a_recipe_that_differs_in_its_texts(monkeypatch, source):
    distill = script(monkeypatch, "bench_distill", "distill.py")
    made = load_recipe(str(distill.RECIPE), distill.settings(Path("rows"), Path("t"), 16, source, "distill.bf16=false"))
    config = made.find("distill")
    assert (config.source, config.teacher_name_or_path, config.bf16) == ({source: 1.0}, "t", False)
    assert (config.train_batch_size, config.divergence, config.use_peft) == (distill.BATCH, "forward_kl", True)
    assert (made.dataset.name, made.dataset.max_completion_length) == ("rows", 16)
    assert source in {*distill.TEXTS, *(source for source, _ in distill.PASSES.values())}


def test_the_first_pass_pays_for_the_teacher_and_the_second_does_not(monkeypatch):
    passes = script(monkeypatch, "bench_passes", "workers/distill_passes.py")
    assert all(callable(getattr(passes.distill, name)) for name in passes.ASKING)
    rows = [{"eval/nll": 1.0}, *({"num_tokens": 100.0 * n, "seconds": 2.0 * n} for n in (1, 2, 3, 4)), {"doctor": "?"}]
    assert passes.pass_rate(rows, 1, 8.0) == pytest.approx(400 / 16)
    assert passes.pass_rate(rows, 2, 8.0) == pytest.approx(200 / 4)
    spent: list[float] = []
    assert passes.timed(lambda a, b: a + b, spent)(1, b=2) == 3 and len(spent) == 1 and spent[0] >= 0
