"""From generation rows to results: arms, intervals, comparisons."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from homestretch.errors import DataError, InputError, RecipeError
from homestretch.evaluate import DEFAULT_COMPARISONS, evaluate_rows, front_rows, rank_rows, read_rows
from homestretch.metrics import METRICS
from homestretch.metrics.bleu import corpus_bleu
from homestretch.metrics.diversity import distinct_n
from homestretch.metrics.failures import RULES, failures
from homestretch.metrics.rouge import la_rouge, rouge
from homestretch.metrics.stats import paired_bootstrap, paired_permutation
from homestretch.metrics.text import TEXT_METRICS
from homestretch.results import Results

WORDS = "river bridge town council house garden light road stone water".split()


def sample_rows(arms=("ml_raw", "rl_raw", "rl_raw@t1", "ml_raw@t1"), n=20, samples=1):
    rows = []
    for arm in arms:
        for i in range(n):
            reference = random.Random(i).sample(WORDS, 5)
            for k in range(samples):
                rng = random.Random(f"{arm} {i} {k}")
                kept = [
                    w if rng.random() < (0.8 if arm.startswith("rl") else 0.5) else rng.choice(WORDS) for w in reference
                ]
                rows.append(
                    {
                        "id": f"p{i}", "arm": arm, "prompt": f"x{i}", "references": [" ".join(reference)],
                        "source": " ".join(WORDS), "text": " ".join(kept), "terminated": rng.random() < 0.9,
                        "tokens": 5 + rng.randrange(3), "reward": rng.random(),
                    }
                )  # fmt: skip
    return rows


def of_arm(rows, arm):
    return [row for row in rows if row["arm"] == arm]


def test_table_of_metrics_has_the_keys_of_the_design_and_kl():
    assert set(METRICS) == set(
        "rouge1 rouge2 rougeL la_rouge1 la_rouge2 la_rougeL bleu chrf bleurt bertscore similarity distinct2 copy_rate "
        "length_ratio reward kl".split()
    )
    assert set(TEXT_METRICS) < set(METRICS)
    assert all(m.equation and m.key == key for key, m in METRICS.items())


def test_values_are_those_of_the_metrics():
    rows = sample_rows()
    results = evaluate_rows(rows, seed=0)
    assert list(results.arms) == ["ml_raw", "rl_raw", "rl_raw@t1", "ml_raw@t1"]
    for arm, measured in results.arms.items():
        mine = of_arm(rows, arm)
        texts, references = [r["text"] for r in mine], [r["references"] for r in mine]
        values = {key: m.value for key, m in measured.metrics.items()}
        assert set(values) == {*TEXT_METRICS, "reward"}
        assert values["rougeL"] == pytest.approx(
            np.mean([rouge(t, r).f for t, r in zip(texts, references, strict=True)])
        )
        assert values["la_rouge1"] == pytest.approx(
            np.mean([la_rouge(t, r, "rouge1") for t, r in zip(texts, references, strict=True)])
        )
        assert values["bleu"] == pytest.approx(corpus_bleu(texts, references))
        assert values["distinct2"] == pytest.approx(distinct_n(texts))
        assert values["reward"] == pytest.approx(np.mean([r["reward"] for r in mine]))
        for key, m in measured.metrics.items():
            assert m.low <= m.value <= m.high and m.n == 20
            assert m.higher_is_better == METRICS[key].higher_is_better
        assert set(measured.failure_modes) == {*RULES, "any"}
        broken = [
            failures(r["text"], source=r["source"], references=r["references"], terminated=r["terminated"])
            for r in mine
        ]
        assert measured.failure_modes["no_end"].value == pytest.approx(np.mean(["no_end" in b for b in broken]))
        assert measured.failure_modes["any"].value == pytest.approx(np.mean([bool(b) for b in broken]))
        assert measured.length.mean == pytest.approx(np.mean([r["tokens"] for r in mine]))


def test_comparisons_are_paired_by_prompt_whatever_the_order_of_rows():
    rows = sample_rows()
    results = evaluate_rows(rows, seed=3)
    assert {(c.a, c.b) for c in results.comparisons} == {("rl_raw", "ml_raw"), ("rl_raw@t1", "ml_raw@t1")}
    scores = {arm: [rouge(r["text"], r["references"]).f for r in of_arm(rows, arm)] for arm in ("rl_raw", "ml_raw")}
    (ours,) = [c for c in results.comparisons if (c.a, c.metric) == ("rl_raw", "rougeL")]
    assert (ours.difference, ours.low, ours.high) == pytest.approx(
        paired_bootstrap(scores["rl_raw"], scores["ml_raw"], seed=3)
    )
    assert ours.p_value == pytest.approx(paired_permutation(scores["rl_raw"], scores["ml_raw"], seed=3))
    assert (ours.n, ours.higher_is_better) == (20, True)
    ml, rl = of_arm(rows, "ml_raw"), of_arm(rows, "rl_raw")
    (swapped,) = [c for c in evaluate_rows([*ml, *rl[::-1]], seed=3).comparisons if c.metric == "rougeL"]
    assert swapped.difference == pytest.approx(ours.difference)
    assert swapped.p_value == pytest.approx(ours.p_value, abs=0.01)
    assert {c.metric for c in results.comparisons} >= {"bleu", "distinct2", "reward", "failures/any", "failures/no_end"}


def test_bleu_is_tested_by_swapping_outputs():
    rows = sample_rows(("ml_raw", "rl_raw"), n=8)
    (ours,) = [c for c in evaluate_rows(rows, metrics=["bleu"]).comparisons if c.metric == "bleu"]
    a, b = ([r["text"] for r in of_arm(rows, arm)] for arm in ("rl_raw", "ml_raw"))
    references = [r["references"] for r in of_arm(rows, "rl_raw")]
    observed = corpus_bleu(a, references) - corpus_bleu(b, references)
    count = 0
    for bits in range(2**8):
        first = [x if bits >> i & 1 else y for i, (x, y) in enumerate(zip(a, b, strict=True))]
        second = [y if bits >> i & 1 else x for i, (x, y) in enumerate(zip(a, b, strict=True))]
        count += abs(corpus_bleu(first, references) - corpus_bleu(second, references)) >= abs(observed) - 1e-9
    assert ours.difference == pytest.approx(observed)
    assert ours.p_value == pytest.approx(count / 2**8)


def test_bleu_is_smoothed_by_the_counts_of_the_whole_corpus():
    row = sample_rows(("ml_raw",), n=1)[0]
    texts, reference = ["a b c x d", "d c b a e"], "a b c d e f"  # no 4-gram in common
    rows = [{**row, "id": text, "prompt": text, "text": text, "references": [reference]} for text in texts]
    measured = evaluate_rows(rows, metrics=["bleu"]).arms["ml_raw"].metrics["bleu"]
    assert measured.value == pytest.approx(corpus_bleu(texts, [[reference]] * 2))


def test_an_arm_against_itself_differs_by_nothing():
    rows = sample_rows(("ml_raw",))
    twin = [{**row, "arm": "rl_raw"} for row in rows]
    for c in evaluate_rows([*rows, *twin]).comparisons:
        assert (c.difference, c.low, c.high, c.p_value) == (0, 0, 0, 1)


def test_several_outputs_of_a_prompt_are_one_observation():
    rows = sample_rows(("ml_raw",), n=12, samples=4)
    results = evaluate_rows(rows, metrics=["rougeL", "bleu"])
    scores = [np.mean([rouge(r["text"], r["references"]).f for r in rows if r["id"] == f"p{i}"]) for i in range(12)]
    measured = results.arms["ml_raw"]
    assert measured.metrics["rougeL"].n == measured.failure_modes["any"].n == 12
    assert measured.metrics["rougeL"].value == pytest.approx(np.mean(scores))
    single = evaluate_rows(sample_rows(("ml_raw",), n=12)).arms["ml_raw"]
    fourfold = evaluate_rows([row for row in sample_rows(("ml_raw",), n=12) for _ in range(4)]).arms["ml_raw"]
    for key in ("rougeL", "bleu"):  # repeating every output adds no evidence
        ours, theirs = fourfold.metrics[key], single.metrics[key]
        assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high))


def test_rows_of_a_prompt_with_ids_of_their_own_are_one_observation():
    single = sample_rows(("ml_raw", "rl_raw"), n=12)
    fourfold = [{**row, "id": f"{row['id']} {k}"} for row in single for k in range(4)]
    metrics = [*TEXT_METRICS, "reward"]
    ours, theirs = (evaluate_rows(rows, metrics=metrics) for rows in (fourfold, single))
    for arm, measured in theirs.arms.items():
        assert ours.arms[arm].metrics.keys() == measured.metrics.keys()
        for key, there in measured.metrics.items():
            here = ours.arms[arm].metrics[key]
            assert (here.value, here.low, here.high, here.n) == pytest.approx((there.value, there.low, there.high, 12))
        assert {m.n for m in ours.arms[arm].failure_modes.values()} == {12}
        for mode, there in measured.failure_modes.items():
            assert ours.arms[arm].failure_modes[mode].model_dump() == pytest.approx(there.model_dump()), mode
    assert len(ours.comparisons) == len(theirs.comparisons) > 10
    for here, there in zip(ours.comparisons, theirs.comparisons, strict=True):
        assert here.model_dump() == pytest.approx(there.model_dump())
    assert rank_rows(fourfold, "rougeL")[1].p_best == pytest.approx(rank_rows(single, "rougeL")[1].p_best)
    keys = ["rougeL", "failures/any"]
    volumes = [front_rows(rows, keys)[1].volume for rows in (fourfold, single)]
    assert tuple(volumes[0]) == pytest.approx(tuple(volumes[1]))


def test_prompts_differ_by_what_they_are_about_too_and_without_one_by_id():
    rows = [{**row, "prompt": "Summarise."} for row in sample_rows(("ml_raw",), n=6)]
    about = [{**row, "source": f"{row['source']} {row['id']}"} for row in rows]
    bare = [{k: v for k, v in row.items() if k != "prompt"} for row in rows]
    found = [evaluate_rows(some, metrics=["rougeL"]).arms["ml_raw"].metrics["rougeL"].n for some in (rows, about, bare)]
    assert found == [1, 6, 6]


def test_arms_are_paired_by_id_within_a_prompt():
    good, bad = "river bridge", "stone water"
    rows = [
        {**row, "arm": arm, "id": name, "references": [reference], "text": good}
        for row in sample_rows(("ml_raw",), n=1)
        for arm, name, reference in [("rl_raw", "1", good), ("rl_raw", "2", bad), ("ml_raw", "1", good)]
    ]
    results = evaluate_rows(rows, metrics=["rougeL"])
    assert [results.arms[arm].metrics["rougeL"].value for arm in ("rl_raw", "ml_raw")] == [50, 100]
    (rouge_l,) = [c for c in results.comparisons if c.metric == "rougeL"]
    assert (rouge_l.difference, rouge_l.n) == (0, 1), "only what both have answered"


def test_several_outputs_of_a_prompt_are_averaged_where_a_metric_applies():
    row = sample_rows(("ml_raw",), n=1)[0]
    rows = [{**row, "references": refs, "text": "river bridge"} for refs in (["river bridge"], [], ["river stone"])]
    measured = evaluate_rows(rows, metrics=["rouge1"]).arms["ml_raw"].metrics["rouge1"]
    assert (measured.value, measured.n) == (75, 1)


def test_what_does_not_apply_is_left_out():
    rows = [{**row, "references": [], "reward": None} for row in sample_rows(("ml_raw",), n=4)]
    rows[0].update(references=["river bridge"], reward=0.5)
    arm = evaluate_rows(rows).arms["ml_raw"]
    assert "reward" not in arm.metrics
    assert (arm.metrics["rougeL"].n, arm.metrics["copy_rate"].n) == (1, 4)
    assert (arm.failure_modes["too_long"].n, arm.failure_modes["no_end"].n) == (1, 4)
    only_one = evaluate_rows([{**row, "references": []} for row in rows]).arms["ml_raw"]
    assert set(only_one.metrics) == {"distinct2", "copy_rate"}


def test_learned_metrics_arrive_as_functions():
    calls = []

    def exact(texts, references):
        calls.append(len(texts))
        return [float(t in refs) for t, refs in zip(texts, references, strict=True)]

    rows = sample_rows(("ml_raw",), n=3)
    rows[1]["text"] = rows[1]["references"][0]
    rows[2]["references"] = []
    measured = (
        evaluate_rows(rows, metrics=["similarity"], learned={"similarity": exact}).arms["ml_raw"].metrics["similarity"]
    )
    assert calls == [2]
    assert measured.n == 2 and measured.value in (0.5, 1)
    with pytest.raises(RecipeError, match="`bleurt` needs a local checkpoint"):
        evaluate_rows(rows, metrics=["bleurt"])
    with pytest.raises(RecipeError, match="did you mean `rougeL`"):
        evaluate_rows(rows, metrics=["rougel"])


def test_forms_of_la_rouge_and_the_seed_reach_the_metrics():
    rows = sample_rows(("ml_raw",), n=6)
    for row in rows:
        row["text"] += " more words than wanted"
    value = {
        form: evaluate_rows(rows, metrics=["la_rougeL", "rougeL"], la_rouge=form).arms["ml_raw"].metrics
        for form in "acd"
    }
    plain = value["a"]["rougeL"].value
    assert value["a"]["la_rougeL"].value == pytest.approx(plain * 5 / 9)
    assert value["c"]["la_rougeL"].value == pytest.approx(plain * np.exp(1 - 9 / 5))
    assert 0 < value["d"]["la_rougeL"].value < 20
    first, again, other = (evaluate_rows(rows, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_progress_is_told_and_results_survive_the_file(tmp_path):
    told = []
    results = evaluate_rows(sample_rows(n=4), progress=lambda *what: told.append(what), headline_metric="chrf")
    assert told[0] == ("ml_raw", 0, 6) and told[4][1:] == (4, 6) and told[-1] == ("done", 6, 6)
    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results
    assert results.headline_metric == "chrf"


def test_default_comparisons():
    assert ("rl_raw", "ml_post") in DEFAULT_COMPARISONS and ("rl_post@t1", "rl_raw@t1") in DEFAULT_COMPARISONS
    assert len(set(DEFAULT_COMPARISONS)) == 10


def test_rows_are_read_and_bad_ones_named(tmp_path):
    path = tmp_path / "generations.jsonl"
    path.write_text(json.dumps({"arm": "ml_raw", "text": "a\u2028b"}, ensure_ascii=False) + "\n\n", encoding="utf-8")
    (row,) = read_rows(path)
    assert (row["arm"], row["references"], row["terminated"], row["text"]) == ("ml_raw", [], None, "a\u2028b")
    assert evaluate_rows([row]).arms["ml_raw"].length is None
    path.write_text('{"arm": "ml_raw", "text": "a"}\n{"arm": "ml_raw"}\n')
    with pytest.raises(DataError, match=r"generations.jsonl:2: a generation needs"):
        read_rows(path)
    path.write_text("{\n")
    with pytest.raises(DataError, match=r"generations.jsonl:1: this is not JSON"):
        read_rows(path)
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        read_rows(path)
    path.write_text("")
    with pytest.raises(InputError, match="no rows"):
        read_rows(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_rows(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="nothing to evaluate"):
        evaluate_rows([])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("references", "a"), ("references", [1]), ("source", 1), ("terminated", 1), ("tokens", "3"), ("tokens", True),
        ("reference_tokens", [3]), ("reward", float("nan")), ("kl", 10**400), ("rewards", [1]), ("rewards", {"a": "b"}),
    ],
)  # fmt: skip
def test_a_column_of_the_wrong_kind_is_named(tmp_path, name, value):
    path, row = tmp_path / "generations.jsonl", {"arm": "a", "text": "b"}
    path.write_text(json.dumps(row | {name: None}) + "\n" + json.dumps(row | {name: value}) + "\n")
    with pytest.raises(DataError, match=rf"generations.jsonl:2: `{name}` is not of the kind that a generation has"):
        read_rows(path)
    path.write_text(json.dumps(row | {"rewards": {"a": None, "b": 1}, name: None}) + "\n")
    assert evaluate_rows(read_rows(path)).arms["a"].metrics
