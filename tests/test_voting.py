"""Filters and votes: the sheet's examples, ties, and thresholds that keep what they promise."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.metrics.partial import Bin, partial_auroc, reliability, token_at
from homestretch.metrics.voting import (
    Filter,
    Question,
    filter_for_recall,
    majority,
    threshold_for_recall,
    vote,
)

HEAD = [-0.9] * 5
ROW = st.lists(st.floats(-1, 1), min_size=1, max_size=20)


def test_a_sample_falls_behind_the_first_five_tokens():
    by = Filter()
    assert by.falls_at([*HEAD, 0.2, 0.1, -0.1, 0.3, 0.2]) == 2
    assert by.falls_at([*HEAD, 0.2, 0.1, 0.1, 0.3, 0.2]) is None
    assert by.falls_at(HEAD) is None


def test_saved_tokens_are_counted_behind_them_too():
    rows = [[*HEAD, 0.2, 0.1, -0.1, 0.3, 0.2], [*HEAD, 0.2, 0.1, 0.1, 0.3, 0.2]]
    found = vote(["7", "8"], [False, True], rows, by=Filter())
    assert found == (True, 1, 1, 3, 10, False)


def test_a_reader_that_looks_now_and_then_saves_what_is_not_written_yet():
    by = Filter(threshold=0.0, patience=2, skip=1)
    row = [-0.9, 0.3, -0.1, -0.2, 0.3, 0.3, 0.3]  # falls at its fourth token
    assert [by.stops_at(row, every=n) for n in (1, 2, 3, 4, 5, 7)] == [4, 4, 6, 4, 5, 7]
    assert by.stops_at(row, every=8) is None  # it is never looked at
    assert by.stops_at(row[:5], every=3) is None  # nor behind its third token, where nothing is wrong yet
    assert by.stops_at(row) == 3  # the sheet counts the token at which it falls as saved
    assert vote(["1", "2"], [True, False], [[0.5] * 3, row], by=by, every=3) == (True, 1, 1, 1, 10, False)


def test_patience_waits_for_tokens_in_a_row():
    by = Filter(threshold=0.0, patience=2, skip=0)
    assert by.falls_at([-0.1, 0.1, -0.1, 0.2]) is None
    assert by.falls_at([0.1, -0.1, -0.1, 0.2]) == 2


def test_votes_of_the_sheet():
    answers, right = ["3", "3", "3", "7", "7", "7", "9"], [True] * 3 + [False] * 4
    assert majority(answers, right, rule="lenient")
    assert majority(answers, right, rule="strict")  # the first of tied answers
    assert not majority(answers[::-1], right[::-1], rule="strict")
    assert not majority([*answers, "7"], [*right, False], rule="lenient")


def test_no_answer_has_no_vote_where_rules_are_strict():
    assert majority(["1", None, None], [True, False, False], rule="strict")
    assert not majority([None], [False], rule="strict")
    assert not majority(["1", None, None], [True, False, False], rule="lenient")


def test_where_all_fall_all_are_kept():
    rows = [[*HEAD, -0.2], [*HEAD, -0.3]]
    assert vote(["1", "2"], [True, False], rows, by=Filter()) == (True, 2, 1, 0, 2, True)
    assert not vote([], [], [], by=Filter()).lost_all


@given(row=ROW, patience=st.integers(1, 4), skip=st.integers(0, 6))
def test_the_low_of_a_sample_is_the_last_threshold_that_keeps_it(row, patience, skip):
    low = Filter(0.0, patience, skip).low(row)
    if math.isinf(low):
        assert Filter(2.0, patience, skip).falls_at(row) is None
    else:
        assert Filter(low, patience, skip).falls_at(row) is None
        assert Filter(math.nextafter(low, 2), patience, skip).falls_at(row) is not None


@given(rows=st.lists(ROW, min_size=1, max_size=12), recall=st.floats(0.05, 1), patience=st.integers(1, 3))
def test_a_threshold_keeps_the_wanted_share_of_good_samples_and_a_higher_one_does_not(rows, recall, patience):
    good = [True] * len(rows)
    by = threshold_for_recall(rows, good, recall=recall, patience=patience)
    kept = sum(by.falls_at(row) is None for row in rows)
    assert kept >= recall * len(rows) - 1e-6
    if by.threshold < 1:
        higher = Filter(math.nextafter(by.threshold, 2), patience, by.skip)
        assert sum(higher.falls_at(row) is None for row in rows) < recall * len(rows)


def test_without_good_samples_there_is_no_threshold():
    with pytest.raises(ValueError, match="no sample is good"):
        threshold_for_recall([[0.1]], [False], recall=0.9)


@pytest.mark.parametrize("recall", [0.0, -0.5, 1.5])
def test_a_share_is_above_nothing_and_at_most_all(recall):
    with pytest.raises(ValueError, match=r"is no share of good samples; give one above 0"):
        threshold_for_recall([[0.1]], [True], recall=recall)


def dips(length: int, lows: dict[int, float]) -> list[float]:
    return [lows.get(i, 0.5) for i in range(length)]


def test_the_patience_is_chosen_that_saves_most_and_of_equal_ones_the_least():
    # One low token does not tell good from bad, four in a row do.
    good, bad = dips(20, {7: -0.8}), dips(20, {8: -0.5, 9: -0.5, 10: -0.5, 11: -0.5})
    questions = [Question(["1", "2"], [True, False], [good, bad])]
    saved = {p: vote(*questions[0], by=threshold_for_recall([good], [True], recall=1, patience=p), every=1).saved
             for p in (1, 2, 4, 8)}  # fmt: skip
    assert saved == {1: 0, 2: 10, 4: 8, 8: 0}
    assert filter_for_recall(questions, recall=1, every=1, patiences=[1, 2, 4, 8]) == Filter(0.5, 2)
    assert filter_for_recall(questions, recall=1, every=16, patiences=[1, 2, 4, 8]) == Filter(0.5, 2)  # as many by 4
    assert filter_for_recall(questions, recall=1, every=1, patiences=[4]) == Filter(0.5, 4)
    assert filter_for_recall([Question(["1"], [True], [good])], recall=1, every=1).patience == 1


def test_partial_places_of_the_sheet():
    assert [token_at(p, 10) for p in (0, 0.1, 0.5, 1)] == [0, 0, 4, 9]


def test_partial_area_reads_each_row_at_its_own_share():
    values = [[0.0, 1.0], [0.0, 0.5, 0.2, 0.9], [0.0, 0.0]]
    found = partial_auroc(values, [True, True, False], shares=(0.0, 0.5, 1.0))
    assert found == {0.0: 0.5, 0.5: pytest.approx(0.75), 1.0: 1.0}


def test_reliability_bins_are_equally_large_and_rise():
    found = reliability([0.1, 0.4, 0.2, 0.3], [False, True, False, True], bins=2)
    assert found == [Bin(pytest.approx(0.15), 0.0, 2), Bin(pytest.approx(0.35), 1.0, 2)]
    assert len(reliability([0.1], [True], bins=10)) == 1
