"""Chunked log-probabilities against their definition, their gradients, and what they keep in memory."""

from __future__ import annotations

import math

import pytest
import torch
from reference import logprobs as reference
from torch import nn

from homestretch.ops.logprobs import chunked_logprobs

VOCABULARY = 11


def problem(rows: int, *, dtype: torch.dtype = torch.float64, k: int | None = None) -> tuple:
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, 5, generator=generator, dtype=dtype)
    weight = torch.randn(VOCABULARY, 5, generator=generator, dtype=dtype)
    ids = torch.randint(VOCABULARY, (rows,) if k is None else (rows, k), generator=generator)
    return hidden, weight, ids


@pytest.mark.parametrize("chunk_rows", [1, 3, 7, 100])
@pytest.mark.parametrize("k", [None, 1, 4])
def test_equals_the_definition_for_every_chunk_size(chunk_rows: int, k: int | None) -> None:
    hidden, weight, ids = problem(7, k=k)
    logp, entropy = chunked_logprobs(hidden, lambda h: h @ weight.T, ids, chunk_rows=chunk_rows, entropy=True)
    rows = (hidden @ weight.T).tolist()
    pairs = zip(rows, ids.reshape(7, -1).tolist(), strict=True)
    want = [[reference.log_softmax(row)[i] for i in wanted] for row, wanted in pairs]
    torch.testing.assert_close(logp, torch.tensor(want, dtype=torch.float64).reshape(ids.shape))
    torch.testing.assert_close(entropy, torch.tensor([reference.entropy(row) for row in rows], dtype=torch.float64))


@pytest.mark.parametrize("entropy", [False, True])
def test_gradient_equals_the_naive_one(entropy: bool) -> None:
    hidden, weight, ids = problem(6, k=2)
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]
    logp, h = chunked_logprobs(hidden, lambda x: x @ weight.T, ids, chunk_rows=4, entropy=entropy)
    everything = (hidden @ weight.T).log_softmax(-1)
    naive = everything.gather(-1, ids).square().sum()
    ours = logp.square().sum()
    if entropy:
        naive, ours = naive - (everything.exp() * everything).sum(), ours + h.sum()
    for got, want in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(naive, leaves), strict=True):
        torch.testing.assert_close(got, want)


def test_gradcheck() -> None:
    hidden, weight, ids = problem(3, k=2)

    def both(h: torch.Tensor, w: torch.Tensor) -> tuple:
        return chunked_logprobs(h, lambda x: x @ w.T, ids, chunk_rows=2, entropy=True)

    assert torch.autograd.gradcheck(both, (hidden.requires_grad_(), weight.requires_grad_()))


def test_only_the_heads_parameters_may_need_gradients() -> None:
    hidden, weight, ids = problem(5)
    head = nn.Linear(5, VOCABULARY, bias=False, dtype=torch.float64)
    head.weight = nn.Parameter(weight)
    logp, _ = chunked_logprobs(hidden, head, ids, chunk_rows=2)
    logp.sum().backward()
    want = torch.autograd.grad(
        (hidden @ weight.requires_grad_().T).log_softmax(-1).gather(-1, ids[:, None]).sum(), weight
    )
    torch.testing.assert_close(head.weight.grad, want[0])


def test_no_tensor_over_the_vocabulary_is_kept_for_the_backward_pass() -> None:
    hidden, weight, ids = problem(8)
    hidden.requires_grad_()
    kept: list[tuple[int, ...]] = []
    heights: list[int] = []

    def head(states: torch.Tensor) -> torch.Tensor:
        heights.append(len(states))
        return states @ weight.T

    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(tuple(x.shape)) or x, lambda x: x):
        logp, _ = chunked_logprobs(hidden, head, ids, chunk_rows=3, entropy=True)
        assert [shape for shape in kept if shape[-1:] == (VOCABULARY,)] == []
        (hidden @ weight.T).log_softmax(-1)
        assert (8, VOCABULARY) in kept  # the hook does see such a tensor
    logp.sum().backward()
    assert heights == [3, 3, 2, 2, 3, 3]  # forward, then each chunk again, from the last


def test_without_gradients_the_head_runs_once_a_chunk() -> None:
    hidden, weight, ids = problem(8)
    heights: list[int] = []
    with torch.no_grad():
        chunked_logprobs(hidden, lambda h: heights.append(len(h)) or h @ weight.T, ids, chunk_rows=5)
    assert heights == [5, 3]


@pytest.mark.parametrize("k", [None, 3])
def test_no_rows(k: int | None) -> None:
    hidden, weight, ids = problem(0, k=k)
    weight.requires_grad_()
    logp, entropy = chunked_logprobs(hidden, lambda h: h @ weight.T, ids, chunk_rows=4, entropy=True)
    assert logp.shape == ids.shape and entropy is not None and entropy.shape == (0,)
    logp.sum().backward()
    assert weight.grad is not None and not weight.grad.any()


def test_low_precision_logits_are_summed_in_float32() -> None:
    hidden, weight, ids = problem(6, dtype=torch.bfloat16)
    logp, entropy = chunked_logprobs(hidden, lambda h: h @ weight.T, ids, chunk_rows=4, entropy=True)
    exact = (hidden @ weight.T).double().log_softmax(-1)
    assert logp.dtype == torch.float32 and entropy is not None and entropy.dtype == torch.float32
    torch.testing.assert_close(logp.double(), exact.gather(-1, ids[:, None])[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropy.double(), -(exact.exp() * exact).sum(-1), atol=1e-5, rtol=1e-5)


def test_entropy_is_not_computed_unless_asked_for() -> None:
    hidden, weight, ids = problem(3)
    assert chunked_logprobs(hidden, lambda h: h @ weight.T, ids, chunk_rows=4)[1] is None


def test_impossible_tokens_leave_values_and_gradients_finite() -> None:
    logits = torch.tensor([[0.0, 0.0, -math.inf]], dtype=torch.float64, requires_grad=True)
    logp, entropy = chunked_logprobs(logits, lambda h: h, torch.tensor([0]), chunk_rows=1, entropy=True)
    assert logp.item() == pytest.approx(-math.log(2)) and entropy is not None
    assert entropy.item() == pytest.approx(math.log(2))
    (logp + entropy).sum().backward()
    # at two equal tokens the entropy is flat and d logp_0 = 1 - 1/2, -1/2
    assert logits.grad is not None and logits.grad.tolist()[0] == pytest.approx([0.5, -0.5, 0.0])
