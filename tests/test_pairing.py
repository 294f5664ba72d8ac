"""Which rows are of one prompt, and which rows of two arms are compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from homestretch.errors import RecipeError
from homestretch.evaluate import evaluate_rows, rank_rows
from homestretch.pairing import answers_of
from homestretch.report.read import read_run
from homestretch.report.samples import merge
from homestretch.report.verdict import verdict
from homestretch.verbs.audit import audit
from homestretch.verbs.measure import measure

ROW = {"references": ["the red sun."], "source": "", "terminated": True, "tokens": 4, "reward": None}


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def outputs(path: Path, arm: str, prompts: list[str], texts: list[str], *, ids: bool) -> Path:
    """A file of generations; ids are those that `generate` gives: the name of the data file and the line."""
    rows = [{**ROW, "arm": arm, "prompt": p, "text": t} for p, t in zip(prompts, texts, strict=True)]
    return write(path, [row | {"id": f"out.jsonl:{i}"} if ids else row for i, row in enumerate(rows, 1)])


def test_rows_without_ids_are_told_apart_by_their_order_in_a_prompt() -> None:
    rows = [{"prompt": "p"}, {"prompt": "q"}, {"prompt": " p", "id": None}, {"prompt": "p", "arm": "other"}]
    first, second, third, other = answers_of(rows)
    assert len({first, second, third}) == 3 and other == first
    named = [{"prompt": "p", "id": 1}, {"prompt": "p", "id": "1"}, {"prompt": "p", "id": 2}, {"prompt": "q", "id": 1}]
    one, same, two, elsewhere = answers_of(named)
    assert one == same and len({one, two, elsewhere}) == 3


def test_other_prompts_under_the_same_ids_are_not_paired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count = 30
    de = outputs(tmp_path / "de" / "out.jsonl", "ml_raw", [f"sag {i}" for i in range(count)], ["x"] * count, ids=True)
    fr = outputs(
        tmp_path / "fr" / "out.jsonl", "ml_raw", [f"dis {i}" for i in range(count)], ["the red sun."] * count, ids=True
    )
    results = measure([de, fr], metrics=["rougeL"])
    assert len(results.arms) == 2 and results.comparisons == []
    said = capsys.readouterr().err
    assert "are not compared, as they have no row of the same `id`, `prompt` and `source`; give outputs" in said
    rows = [json.loads(line) | {"arm": path.parent.name} for path in (de, fr) for line in path.read_text().splitlines()]
    with pytest.raises(RecipeError, match="applies to no row that all arms have"):
        rank_rows(rows, "rougeL")


def test_rows_without_ids_are_paired_by_prompt_and_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = [f"p{i // 2}" for i in range(20)]  # two rows each
    bad = outputs(tmp_path / "a.jsonl", "ml_raw", prompts, ["x"] * 20, ids=False)
    good = outputs(tmp_path / "b.jsonl", "rl_raw", prompts[::-1], ["the red sun."] * 20, ids=False)
    results = measure([bad, good], metrics=["rougeL"], headline_metric="rougeL")
    (found,) = [c for c in results.comparisons if c.metric == "rougeL"]
    assert (found.a, found.b, found.difference, found.n) == ("rl_raw", "ml_raw", 100, 10)
    assert "not compared" not in capsys.readouterr().err
    # The first row of the prompt is right in one arm and the second in the other.
    rows = [{**ROW, "id": None, "arm": "ml_raw", "prompt": "p", "text": t} for t in ("the red sun.", "x")]
    rows += [{**ROW, "id": None, "arm": "rl_raw", "prompt": "p", "text": "the red sun."}]
    (found,) = [c for c in evaluate_rows(rows, metrics=["rougeL"]).comparisons if c.metric == "rougeL"]
    assert found.difference == 0, "the first of each are compared, and the second has no partner"


def test_rows_without_prompt_and_id_are_not_paired(tmp_path: Path) -> None:
    row = {"references": ["the red sun."], "text": "x"}
    files = [write(tmp_path / f"{arm}.jsonl", [row | {"arm": arm}] * 5) for arm in ("ml_raw", "rl_raw")]
    results = measure(files, metrics=["rougeL"])
    assert results.arms["ml_raw"].metrics["rougeL"].n == 5 and results.comparisons == []
    said = verdict(results).sentence
    assert said == "`rl_raw` and `ml_raw` were not compared, as they have no answers to the same prompts."


def test_the_verdict_tells_a_metric_that_both_arms_have_on_no_row() -> None:
    rows = [{**ROW, "id": "1", "arm": arm, "prompt": "p", "text": "x"} for arm in ("ml_raw", "rl_raw")]
    results = evaluate_rows([rows[0], rows[1] | {"references": []}], metrics=["rougeL"], headline_metric="rougeL")
    said = verdict(results).sentence
    assert said == "The arms were measured but not compared on ROUGE-L, which no row of both has."


def test_questions_about_one_document_are_prompts_of_their_own(tmp_path: Path) -> None:
    row = {"document": "the sun is red.", "terminated": True}
    asked = [{**row, "prompt": f"question {i}", "prediction": "" if i % 2 else "red."} for i in range(100)]
    rate = audit(write(tmp_path / "rows.jsonl", asked))["predictions"]["empty"]
    assert (rate.value, rate.n) == (0.5, 100)
    assert (rate.low, rate.high) == pytest.approx((0.4038, 0.5962), abs=1e-4)  # Wilson's, of 50 in 100
    same = [{**row, "prompt": "question", "prediction": text} for text in ("", "red.")] * 10
    assert audit(write(tmp_path / "same.jsonl", same))["predictions"]["empty"].n == 1
    # Without a prompt the document is it, and without both each row is one.
    bare = [{"document": text, "prediction": ""} for text in "aab"] + [{"prediction": ""}] * 2
    assert audit(write(tmp_path / "bare.jsonl", bare))["predictions"]["empty"].n == 4


def test_audit_and_evaluation_count_the_same_prompts(tmp_path: Path) -> None:
    pairs = [("p", "s"), ("p", "t"), ("q", "s"), ("q", "s"), (" p", "s ")]
    rows = [
        {**ROW, "arm": "ml_raw", "prompt": p, "source": s, "text": "x", "id": str(i)} for i, (p, s) in enumerate(pairs)
    ]
    measured = evaluate_rows(rows, metrics=["rougeL"]).arms["ml_raw"].failure_modes
    assert audit(write(tmp_path / "rows.jsonl", rows))["ml_raw"] == measured
    assert measured["empty"].n == 3


def test_the_report_joins_samples_as_arms_are_paired(tmp_path: Path) -> None:
    for run, prompts in (("old", ["p", "q", "q"]), ("new", ["p ", "r", "q"])):
        rows = [{**ROW, "arm": "ml_raw", "id": str(i), "prompt": p, "text": run} for i, p in enumerate(prompts)]
        write(tmp_path / run / "evaluation" / "generations.jsonl", rows)
    samples = merge([read_run(tmp_path / run) for run in ("old", "new")])
    assert [(s.id, s.prompt, list(s.outputs)) for s in samples] == [
        ("0", "p", ["old · ml_raw", "new · ml_raw"]),
        ("1", "q", ["old · ml_raw"]),
        ("2", "q", ["old · ml_raw", "new · ml_raw"]),
        ("1", "r", ["new · ml_raw"]),
    ]
