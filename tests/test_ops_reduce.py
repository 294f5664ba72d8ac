"""Averages against their definition, and their independence of how a batch is cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ragged import mask_of, ragged, rows_of
from reference import reduce as reference

from homestretch.ops.reduce import aggregate, denominator, masked_mean, whiten

AVERAGES = {"token": reference.token_mean, "sequence": reference.sequence_mean}


@given(batch=ragged())
def test_masked_mean(batch: tuple) -> None:
    values, lengths = batch
    want = reference.token_mean(rows_of(values, lengths))
    assert masked_mean(values, mask_of(values, lengths)).item() == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("average", AVERAGES)
@given(batch=ragged())
def test_aggregate_equals_the_definition(average: str, batch: tuple) -> None:
    values, lengths = batch
    mask = mask_of(values, lengths)
    got = aggregate(values, mask, average=average, denominator=denominator(mask, average))
    assert got.item() == pytest.approx(AVERAGES[average](rows_of(values, lengths)), abs=1e-12)


@pytest.mark.parametrize("average", AVERAGES)
@given(batch=ragged(max_rows=6), cut=st.integers(1, 5), boolean=st.booleans())
def test_micro_batches_sum_to_the_whole(average: str, batch: tuple, cut: int, boolean: bool) -> None:
    values, lengths = batch
    mask = mask_of(values, lengths).to(torch.bool if boolean else torch.long)
    parts = list(zip(values.split(cut), mask.split(cut), strict=True))
    total = denominator(mask, average)
    assert sum(denominator(m, average).item() for _, m in parts) == total.item()
    pieces = sum(aggregate(v, m, average=average, denominator=total).item() for v, m in parts)
    assert pieces == pytest.approx(aggregate(values, mask, average=average, denominator=total).item(), abs=1e-12)


def test_the_two_averages_by_hand() -> None:
    terms, mask = (
        torch.tensor([[1.0, 3.0, 5.0], [7.0, 9.0, 9.0], [9.0, 9.0, 9.0]]),
        torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]]),
    )
    assert aggregate(terms, mask, average="token", denominator=denominator(mask, "token")).item() == 16 / 4
    assert aggregate(
        terms, mask, average="sequence", denominator=denominator(mask, "sequence")
    ).item() == pytest.approx(10 / 3)


@pytest.mark.parametrize("average", AVERAGES)
def test_one_term_a_sequence(average: str) -> None:
    terms, mask = torch.tensor([1.0, 2.0, 100.0]), torch.tensor([1, 1, 0])
    want = {"token": 3 / 2, "sequence": 3 / 3}[average]
    assert aggregate(terms, mask, average=average, denominator=denominator(mask, average)).item() == want


@pytest.mark.parametrize("average", AVERAGES)
def test_nothing_to_train_on_is_zero_with_zero_gradient(average: str) -> None:
    terms, mask = torch.ones(2, 3, requires_grad=True), torch.zeros(2, 3)
    loss = aggregate(terms, mask, average=average, denominator=0)
    loss.backward()
    assert loss.item() == 0 and terms.grad is not None and not terms.grad.any()


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("shape", [(0, 3), (0,), (2, 0)])
def test_empty_shapes(average: str, shape: tuple[int, ...]) -> None:
    assert aggregate(torch.zeros(shape), torch.zeros(shape), average=average, denominator=5).item() == 0


@pytest.mark.parametrize("average", AVERAGES)
def test_gradient_reaches_valid_terms_only(average: str) -> None:
    terms = torch.tensor([[1.0, 2.0], [3.0, torch.nan]], requires_grad=True)
    aggregate(terms, torch.tensor([[1, 1], [1, 0]]), average=average, denominator=4.0).backward()
    want = {"token": [[0.25, 0.25], [0.25, 0.0]], "sequence": [[0.125, 0.125], [0.25, 0.0]]}[average]
    assert terms.grad is not None and terms.grad.tolist() == want


@given(batch=ragged())
def test_whiten_equals_the_definition(batch: tuple) -> None:
    values, lengths = batch
    got = whiten(values, mask_of(values, lengths), eps=0.1)
    for row, want, length in zip(got, reference.whiten(rows_of(values, lengths), 0.1), lengths, strict=True):
        assert row[:length].tolist() == pytest.approx(want, abs=1e-12)
        assert not row[length:].any()


def test_whitened_numbers_of_the_sheet() -> None:
    adv, mask = torch.tensor([[0.74625, 0.575, 0.5, 9.0]], dtype=torch.float64), torch.tensor([[1, 1, 1, 0]])
    assert whiten(adv, mask).tolist()[0] == pytest.approx([1.350358, -0.311310, -1.039048, 0.0], abs=5e-7)


def test_whitening_equal_values_gives_zeros() -> None:
    assert whiten(torch.full((2, 2), 0.3), torch.ones(2, 2)).abs().max() < 1e-4
