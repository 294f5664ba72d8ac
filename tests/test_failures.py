"""Rules of `metrics.failures`: each on an output that breaks it and on one that does not."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.metrics.failures import RULES, failure_rates, failures, judge, longest_shared_run
from homestretch.metrics.lexicon import content_words, misplaced_words, names_and_numbers, supports

SOURCE = "The committee of the town met in May and decided, after three hours, to build a bridge over the river Rhine."
REFERENCE = "The town will build a bridge over the Rhine."


def broken(text, *, source=SOURCE, references=(REFERENCE,), terminated=True):
    return failures(text, source=source, references=references, terminated=terminated)


def test_a_good_output_breaks_no_rule():
    assert broken("A bridge over the Rhine will be built by the town.") == set()
    assert broken(REFERENCE) == set()


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("empty", " ... "),
        ("truncated", "The town will build a bridge over the"),
        ("repetitive", "The town will build a bridge the town will build a bridge the town will build a bridge."),
        ("repetitive", "The town town town town will build."),
        ("copy", "The committee of the town met in May and decided."),
        ("irrelevant", "Several singers record popular music albums."),
        ("unsupported", "The town will build a bridge over the Danube."),
        ("unsupported", "The town will build 4 bridges over the river."),
        ("disfluent", "The the of bridge and or river Rhine build."),
        ("disfluent", "Build the town The bridge over."),
        ("too_long", "The town " + "decided to build a bridge over the river after hours " * 2),
        ("too_short", "A bridge."),
    ],
)
def test_each_rule_sees_its_failure(rule, text):
    assert rule in broken(text)


@pytest.mark.parametrize("marks", ["'\u2019", "\u2019'"])
def test_how_an_apostrophe_is_set_makes_no_other_name(marks):
    one, other = marks
    source = f"Mayor O{other}Hara opened the Smiths{other} bridge; it{other}s red."
    text = f"The bridge was opened by O{one}Hara, and I{one}m glad that it{one}s O{one}Hara{one}s."
    assert "unsupported" not in broken(text, source=source, references=["The bridge is red."])


def test_copies_and_lengths_are_counted_in_characters_where_no_spaces_are_written():
    source, reference = "委员会五月在镇上开会、决定在莱茵河上建一座新桥。", "镇上将建一座新桥。"
    assert "copy" in broken("委员会五月在镇上开会。", source=source, references=[reference])
    assert "too_long" in broken(
        "镇上将在莱茵河上为全体居民建一座又大又漂亮的新桥。", source=source, references=[reference]
    )
    assert "too_short" in broken("新桥。", source=source, references=[reference])
    assert not {"copy", "too_long", "too_short"} & broken("镇上、会建一座桥。", source=source, references=[reference])


def test_references_are_evidence_as_the_source_is():
    text = "Planners want another crossing near Basel."
    assert {"irrelevant", "unsupported"} <= broken(text, source="Nothing.", references=["Some other words here."])
    assert not {"irrelevant", "unsupported"} & broken(text, source="Nothing.", references=[text])
    assert not {"irrelevant", "unsupported"} & broken(text, source=text, references=["Some other words here."])


def test_no_end_is_asked_only_where_it_is_known():
    assert "no_end" in broken(REFERENCE, terminated=False)
    assert "no_end" not in judge(REFERENCE, source=SOURCE, references=[REFERENCE], terminated=None)


def test_rules_about_references_are_skipped_without_them():
    answers = judge("A bridge over", source=SOURCE, references=[], terminated=True)
    assert set(RULES) - set(answers) == {"truncated", "too_long", "too_short"}


def test_thresholds():
    assert "too_long" not in broken("a b c d", source="", references=["b a"])  # exactly twice
    assert "too_long" in broken("a b c d e", source="", references=["b a"])
    assert "too_long" not in broken("a b c d e", source="", references=["b a", "c d e"])
    assert "too_short" not in broken("a b", source="", references=["b a c d"])
    assert "truncated" not in broken("no full stop", references=["One has none", "One has."])
    # five copied words are no span; six of nine are less than 70 %
    assert "copy" not in broken("to build a bridge over", references=[])
    assert "copy" not in broken("they want to build a bridge over the soon", references=[])
    assert "copy" in broken("want to build a bridge over the river", references=[])
    assert "copy" not in broken(
        "to build a bridge over the river", references=["to build a bridge over the river Rhine"]
    )


def test_names_and_numbers_find_support_in_other_forms():
    assert names_and_numbers("The U.N. paid 1,500.0 dollars to Ann Lee in 3D on the 2nd.") == {
        "U.N", "1500", "Ann", "Lee", "3D", "2",
    }  # fmt: skip
    assert supports(["it took three hours"], "3")
    assert supports(["about 1500 people"], "1500")
    assert supports(["natural language processing"], "NLP")
    assert supports(["ann_lee"], "Lee") and supports(["the bridges"], "Bridge")
    assert supports(["the UN met"], "U.N") and supports(["Ann's bridge"], "Ann")
    assert not supports(["natural language"], "NLP")
    assert not supports(["15 people"], "1500")


def test_content_words_and_misplaced_words():
    assert content_words("The building of 12 snake_case buildings") == {"build", "12", "snake", "case"}
    assert misplaced_words("He read the book The Secret Scripture in a day.") == 0
    assert misplaced_words("The end of the.") == 1
    assert misplaced_words("of and the to") == 1 + 1  # of and, the to


def test_longest_shared_run_is_contiguous():
    assert longest_shared_run("a b c d".split(), "x b c a b c y".split()) == 3
    assert longest_shared_run([], ["a"]) == 0


words = st.lists(st.sampled_from("a b c".split()), max_size=8)


@given(words, words)
def test_longest_shared_run_equals_trying_all(a, b):
    runs = [k - i for i in range(len(a)) for k in range(i + 1, len(a) + 1)
            if any(a[i:k] == b[j : j + k - i] for j in range(len(b)))]  # fmt: skip
    assert longest_shared_run(a, b) == max(runs, default=0)


@given(st.text(max_size=60), st.text(max_size=60), st.lists(st.text(max_size=40), max_size=2))
def test_any_text_can_be_judged_and_answers_are_booleans(text, source, references):
    answers = judge(text, source=source, references=references, terminated=None)
    assert set(answers) <= set(RULES)
    assert all(type(answer) is bool for answer in answers.values())


def test_rates():
    rows = [
        {"text": REFERENCE, "source": SOURCE, "references": [REFERENCE], "terminated": True},
        {"text": "A bridge.", "source": SOURCE, "references": [REFERENCE], "terminated": False},
        {"text": "A bridge.", "source": SOURCE},
    ]
    rates = failure_rates(rows)
    assert (rates["no_end"].value, rates["no_end"].n) == (0.5, 2)
    assert (rates["too_short"].value, rates["too_short"].n) == (0.5, 2)
    assert (rates["any"].value, rates["any"].n) == (pytest.approx(1 / 3), 3)
    assert rates["any"].low < 1 / 3 < rates["any"].high
    assert all(r.higher_is_better is False for r in rates.values())
    assert failure_rates([]) == {}


def test_several_outputs_of_a_prompt_are_one_that_fails_in_part():
    rows = [{"text": text, "prompt": prompt} for prompt in "abcd" for text in ("", "A bridge.")]
    rates = failure_rates(rows)
    assert (rates["empty"].value, rates["empty"].n) == (0.5, 4)
    alone = failure_rates([{"text": row["text"]} for row in rows])
    assert alone["empty"].n == 8 and rates["empty"].low < alone["empty"].low


def test_human_references_seldom_fail_and_spoiled_ones_often_do(shared_data):
    lines = (shared_data / "scitldr" / "validation.jsonl").read_text(encoding="utf-8").splitlines()[:150]
    rows = [json.loads(line) for line in lines]
    references = [row.get("references") or [row["completion"]] for row in rows]
    rng = random.Random(0)

    def rate(rule, outputs):
        judged = zip(outputs, rows, references, strict=True)
        return sum(rule in broken(o, source=r["prompt"], references=refs) for o, r, refs in judged) / len(rows)

    human = [refs[0] for refs in references]
    shuffled = [" ".join(rng.sample(text.split(), len(text.split()))) for text in human]
    for rule in RULES:
        assert rate(rule, human) <= 0.03
    assert rate("disfluent", shuffled) > 0.25
    assert rate("irrelevant", human[1:] + human[:1]) > 0.35
    assert rate("copy", [row["prompt"] for row in rows]) > 0.95
