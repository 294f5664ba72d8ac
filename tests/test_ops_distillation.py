"""Divergences of next-token laws: the sheet's numbers, the definition, gradients, excluded tokens, chunks of rows."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from reference import distillation as reference
from torch import Tensor

from homestretch.ops.distillation import divergence, jsd, kl, log_law, top_k_forward_kl, top_k_law
from homestretch.ops.logprobs import OfLogits, chunked_terms, in_chunks

P, Q = [0.5, 0.3, 0.2], [0.2, 0.5, 0.3]
KINDS = ["forward_kl", "reverse_kl", "jeffreys", "jsd"]
LOGITS = st.lists(st.floats(-6, 6), min_size=5, max_size=5)


def law(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log()


def logits(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def problem(rows: int = 7, vocabulary: int = 11) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States and heads of a student and of a teacher of another width."""
    generator = torch.Generator().manual_seed(rows)
    shapes = (rows, 5), (vocabulary, 5), (rows, 3), (vocabulary, 3)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


@pytest.mark.parametrize(
    ("kind", "beta", "expected"),
    [
        ("forward_kl", 0.5, 0.22380465718564752),
        ("reverse_kl", 0.5, 0.19379419794061362),
        ("jeffreys", 0.5, 0.41759885512626116),
        ("jsd", 0.1, 0.019661226327948242),
        ("jsd", 0.5, 0.05087461253959834),
        ("jsd", 0.9, 0.01756259830195895),
        ("jsd", 0.0, 0.22380465718564752),
        ("jsd", 1.0, 0.19379419794061362),
    ],
)
def test_numbers_of_the_sheet(kind: str, beta: float, expected: float) -> None:
    assert float(divergence(law(*P), law(*Q), kind=kind, beta=beta)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("first", "expected"), [("teacher", 0.246725945400010), ("student", 0.25300153199398157)])
def test_the_divergence_of_texts_is_the_expected_sum_over_their_tokens(first: str, expected: float) -> None:
    """The sheet's chain of two binary tokens: y1 is 1 with .7 and .5, then y2 with .4 or .9, and with .5 or .6."""
    chains = {"teacher": (0.7, (0.4, 0.9)), "student": (0.5, (0.5, 0.6))}
    p, q = chains.pop(first), next(iter(chains.values()))

    def token_kl(a: float, b: float) -> float:
        return float(kl(law(1 - a, a), law(1 - b, b)))

    by_token = token_kl(p[0], q[0]) + sum(s * token_kl(p[1][y], q[1][y]) for y, s in enumerate([1 - p[0], p[0]]))
    assert by_token == pytest.approx(expected, rel=1e-12)
    whole = reference.of_texts(*(lambda text, c=c: c[1][text[0]] if text else c[0] for c in (p, q)), 2)
    assert by_token == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@given(p=LOGITS, q=LOGITS, beta=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
def test_equals_the_definition_and_has_its_bounds(kind: str, p: list[float], q: list[float], beta: float) -> None:
    got = float(divergence(log_law(logits(p)), log_law(logits(q)), kind=kind, beta=beta))
    expected = reference.divergence(reference.softmax(p), reference.softmax(q), kind, beta)
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert got >= -1e-12
    if kind == "jsd" and beta == 0.5:
        assert got <= math.log(2) + 1e-12
    same = log_law(logits(p))
    assert float(divergence(same, same, kind=kind, beta=beta)) == pytest.approx(0, abs=1e-12)


@given(p=LOGITS, q=LOGITS, k=st.integers(1, 4))
def test_other_tokens_than_the_best_are_one(p: list[float], q: list[float], k: int) -> None:
    assume(len({round(x, 6) for x in p}) == len(p))  # which of two equal tokens is among the best, nobody says
    ids, logp, others = top_k_law(logits(p), k=k)
    got = float(top_k_forward_kl(logits(q), ids, logp, others))
    assert got == pytest.approx(reference.top_k(reference.softmax(p), reference.softmax(q), k), rel=1e-9, abs=1e-12)
    assert got <= float(kl(log_law(logits(p)), log_law(logits(q)))) + 1e-12
    assert float(torch.cat([logp, others[:, None]], 1).logsumexp(1)) == pytest.approx(0, abs=1e-12)


def test_towards_its_ends_jsd_is_either_direction() -> None:
    p, q, small = law(*P), law(*Q), 1e-6
    assert float(jsd(p, q, beta=small)) / small == pytest.approx(float(kl(p, q)), rel=1e-4)
    assert float(jsd(p, q, beta=1 - small)) / small == pytest.approx(float(kl(q, p)), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind: str) -> None:
    student, _, _, _ = problem(3)
    teacher = log_law(problem(4)[0][:3])
    for beta in (0.0, 0.3, 1.0):
        assert torch.autograd.gradcheck(
            lambda z, beta=beta: divergence(teacher, log_law(z), kind=kind, beta=beta), (student.requires_grad_(),)
        )
    ids, logp, others = top_k_law(teacher, k=2)
    assert torch.autograd.gradcheck(lambda z: top_k_forward_kl(z, ids, logp, others), (student,))


def test_the_gradient_of_the_forward_divergence_is_the_difference_of_the_laws() -> None:
    student, teacher = logits([1.0, -2.0, 0.5]).requires_grad_(), log_law(logits([0.3, 0.2, -1.0]))
    kl(teacher, log_law(student)).sum().backward()
    torch.testing.assert_close(student.grad, student.softmax(-1) - teacher.exp())


@pytest.mark.parametrize(("kind", "beta"), [("forward_kl", 0.5), ("reverse_kl", 0.5), ("jeffreys", 0.5), ("jsd", 0.3)])
def test_a_token_that_both_exclude_counts_nothing(kind: str, beta: float) -> None:
    student = logits([1.0, -torch.inf, 0.5, 0.0]).requires_grad_()
    found = divergence(log_law(logits([0.3, -torch.inf, 0.2, -1.0])), log_law(student), kind=kind, beta=beta)
    found.sum().backward()
    without = student.detach()[:, [0, 2, 3]].requires_grad_()
    expected = divergence(log_law(logits([0.3, 0.2, -1.0])), log_law(without), kind=kind, beta=beta)
    expected.sum().backward()
    assert found.tolist() == pytest.approx(expected.tolist())
    torch.testing.assert_close(student.grad[:, [0, 2, 3]], without.grad)
    assert float(student.grad[0, 1]) == 0


@pytest.mark.parametrize(
    ("kind", "beta", "student_lacks", "teacher_lacks"),
    [
        ("forward_kl", 0.5, True, False),
        ("reverse_kl", 0.5, False, True),
        ("jeffreys", 0.5, True, True),
        ("jsd", 0.5, False, False),
        ("jsd", 0.0, True, False),
        ("jsd", 1.0, False, True),
    ],
)
def test_a_token_that_one_excludes(kind: str, beta: float, student_lacks: bool, teacher_lacks: bool) -> None:
    """The divergence is infinite where the second law of a direction lacks what the first has, and only there."""
    full, lacking = log_law(logits([0.3, 0.1, 0.2])), log_law(logits([0.3, -torch.inf, 0.2]))
    assert math.isinf(float(divergence(full, lacking, kind=kind, beta=beta))) == student_lacks
    assert math.isinf(float(divergence(lacking, full, kind=kind, beta=beta))) == teacher_lacks
    student = logits([0.3, -torch.inf, 0.2]).requires_grad_()
    if not student_lacks:
        divergence(full, log_law(student), kind=kind, beta=beta).sum().backward()
        assert bool(torch.isfinite(student.grad).all())


def test_low_precision_logits_are_compared_in_float32() -> None:
    teacher, student = (problem(rows)[0].bfloat16() for rows in (5, 6))
    got = kl(log_law(teacher), log_law(student[:5]))
    assert got.dtype == torch.float32
    exact = kl(log_law(teacher.double()), log_law(student[:5].double()))
    torch.testing.assert_close(got.double(), exact, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("chunk_rows", [1, 3, 7, 100])
def test_a_few_rows_at_a_time_change_neither_value_nor_gradient(chunk_rows: int) -> None:
    hidden, head, teacher_hidden, teacher_head = problem()
    leaves = [hidden.requires_grad_(), head.requires_grad_()]

    def term(z: Tensor, h: Tensor) -> Tensor:
        return kl(log_law(h @ teacher_head.T), log_law(z))

    got = chunked_terms(hidden, lambda h: h @ head.T, term, [teacher_hidden], chunk_rows=chunk_rows)
    whole = term(hidden @ head.T, teacher_hidden)
    torch.testing.assert_close(got, whole)
    weights = torch.arange(1.0, 8.0, dtype=torch.float64)
    for a, b in zip(*(torch.autograd.grad((x * weights).sum(), leaves) for x in (got, whole)), strict=True):
        torch.testing.assert_close(a, b)


def test_no_tensor_over_the_vocabulary_is_kept_and_the_teachers_head_runs_once_more_a_chunk() -> None:
    hidden, head, teacher_hidden, teacher_head = problem(8)
    hidden.requires_grad_()
    kept: list[tuple[int, ...]] = []
    heights: list[int] = []

    def term(z: Tensor, h: Tensor) -> Tensor:
        heights.append(len(h))
        return kl(log_law(h @ teacher_head.T), log_law(z))

    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(tuple(x.shape)) or x, lambda x: x):
        got = chunked_terms(hidden, lambda h: h @ head.T, term, [teacher_hidden], chunk_rows=3)
        assert [shape for shape in kept if shape[-1:] == (11,)] == []
        term(hidden @ head.T, teacher_hidden)
        assert (8, 11) in kept, "the hook does see such a tensor"
    heights.pop()
    got.sum().backward()
    assert heights == [3, 3, 2, 2, 3, 3]


def test_no_rows() -> None:
    hidden, head, teacher_hidden, _ = problem(7)
    none = chunked_terms(hidden[:0], lambda h: h @ head.T, lambda z, h: z.sum(1), [teacher_hidden[:0]], chunk_rows=3)
    assert none.shape == (0,)
    assert [len(part) for part in in_chunks(lambda x: x, hidden, chunk_rows=4)] == [4, 3]


def test_rows_of_a_batch_keep_their_columns() -> None:
    columns = torch.arange(12).view(3, 4), torch.arange(24).view(3, 4, 2)
    part = OfLogits(torch.add, columns).of_rows([2, 0], 3)
    assert part.columns[0].tolist() == [[8, 9, 10], [0, 1, 2]] and part.columns[1].shape == (2, 3, 2)
