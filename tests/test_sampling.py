"""The next token: filters against a naive definition, draws against the distribution, greedy against argmax."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from homestretch.errors import RecipeError
from homestretch.generation.sampling import GREEDY, SamplingConfig, choose, filtered_logits, row_uniforms

LAST = 1 - 2**-24  # the largest number that torch.rand gives
LOGITS = [1.3, -0.4, 2.1, 0.2, -2.0, 0.9, 1.7]


def by_definition(logits: list[float], config: SamplingConfig) -> tuple[set[int], float]:
    """Tokens that may be drawn: top-k, then min-p, then top-p on what is left, one after the other. Also how near
    `top_p` is to a mass at which the set changes, where rounding may decide."""
    weight = [math.exp(x / config.temperature) for x in logits]
    ranked = sorted(range(len(logits)), key=lambda i: -weight[i])
    left = ranked[: config.top_k] if config.top_k else ranked
    left = [i for i in left if weight[i] >= config.min_p * weight[ranked[0]]]
    total, kept, margin = sum(weight[i] for i in left), set(), 1.0
    for place, i in enumerate(left):
        before = sum(weight[j] for j in left[:place]) / total
        margin = min(margin, abs(before - config.top_p))
        if before < config.top_p:
            kept.add(i)
    return kept, margin


@settings(max_examples=200)
@given(
    steps=st.lists(st.integers(-40, 40), min_size=1, max_size=9, unique=True),
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    top_k=st.integers(0, 10),
    top_p=st.floats(0.05, 1.0),
    min_p=st.sampled_from([0.0, 0.0117, 0.13, 0.61]),
)
def test_filters_keep_what_their_definitions_keep(steps, temperature, top_k, top_p, min_p):
    logits = [0.1 * step for step in steps]
    config = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    kept, margin = by_definition(logits, config)
    assume(margin > 1e-4)
    out = filtered_logits(torch.tensor([logits, logits[::-1]]), config)
    assert {i for i, x in enumerate(out[0].tolist()) if x > -math.inf} == kept
    assert out[1].tolist() == out[0].tolist()[::-1], "a row is filtered by itself"
    for i in kept:
        assert out[0, i].item() == pytest.approx(logits[i] / temperature, abs=1e-5)


def probabilities(config: SamplingConfig) -> list[float]:
    kept, _ = by_definition(LOGITS, config)
    weight = [math.exp(x / config.temperature) if i in kept else 0.0 for i, x in enumerate(LOGITS)]
    return [w / sum(weight) for w in weight]


CONFIGS = [
    SamplingConfig(),
    SamplingConfig(temperature=0.5),
    SamplingConfig(temperature=1.6, top_k=5),
    SamplingConfig(top_p=0.8),
    SamplingConfig(temperature=0.8, top_k=6, top_p=0.95, min_p=0.1),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_evenly_spread_numbers_give_every_token_its_share(config):
    """The inverse of the distribution function at (i + 1/2) / n: counts are those of the shares, rounded."""
    n = 20_000
    token_B, logp_B = choose(torch.tensor([LOGITS]).expand(n, -1), (torch.arange(n) + 0.5) / n, config)
    counts = token_B.bincount(minlength=len(LOGITS)).tolist()
    for count, p in zip(counts, probabilities(config), strict=True):
        assert abs(count - n * p) <= 1 + 1e-5 * n
    expected = torch.tensor(probabilities(config)).log()[token_B]
    torch.testing.assert_close(logp_B, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_draws_with_the_rows_own_streams_follow_the_distribution(config):
    uniform_BT = row_uniforms(list(range(2000)), 10)
    token_N, _ = choose(torch.tensor([LOGITS]).expand(uniform_BT.numel(), -1), uniform_BT.flatten(), config)
    expected = [p * token_N.numel() for p in probabilities(config)]
    counts = token_N.bincount(minlength=len(LOGITS)).tolist()
    assert all(count == 0 for count, e in zip(counts, expected, strict=True) if e == 0)
    found = chisquare([c for c, e in zip(counts, expected, strict=True) if e], [e for e in expected if e])
    assert found.pvalue > 0.001


def test_top_p_keeps_no_token_once_its_mass_is_reached():
    """Shares that float32 holds exactly: a half, a quarter, an eighth twice."""
    logits_BV = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    for top_p, kept in ((0.25, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 3), (0.875, 3), (0.9, 4)):
        assert int(filtered_logits(logits_BV, SamplingConfig(top_p=top_p)).isfinite().sum()) == kept


@pytest.mark.parametrize("uniform", [0.0, 0.5, LAST])
def test_an_excluded_token_is_never_drawn_not_even_at_the_ends(uniform):
    rows = torch.tensor([[-3.0, 2.0, 1.0, -3.0], [2.0, -3.0, -3.0, 1.0], [-3.0, -3.0, 1.0, 2.0]])
    token_B, logp_B = choose(rows, torch.full((3,), uniform), SamplingConfig(top_k=2))
    assert (rows.gather(1, token_B[:, None]) > 0).all()
    assert torch.isfinite(logp_B).all()


def test_the_largest_number_stays_inside_a_large_vocabulary():
    """Rounded sums of 50 000 probabilities must not push the draw past the last token that may be drawn."""
    logits_BV = torch.randn(20, 50_000, generator=torch.Generator().manual_seed(0))
    logits_BV[:, -10:] = -torch.inf
    token_B, logp_B = choose(logits_BV, torch.full((20,), LAST), SamplingConfig())
    assert (token_B < 49_990).all() and torch.isfinite(logp_B).all()


def test_greedy_takes_the_most_probable_token_and_reports_its_plain_log_probability():
    logits_BV = torch.randn(16, 9, generator=torch.Generator().manual_seed(1))
    greedy = SamplingConfig(temperature=0.0, top_k=1, top_p=0.1)
    for config in (GREEDY, greedy):
        token_B, logp_B = choose(logits_BV, torch.full((16,), 0.99), config)
        for row, token, logp in zip(logits_BV.tolist(), token_B.tolist(), logp_B.tolist(), strict=True):
            assert row[token] == max(row)
            assert logp == pytest.approx(max(row) - math.log(sum(math.exp(x) for x in row)), abs=1e-5)


def test_a_row_keeps_its_numbers_whatever_its_neighbours():
    alone, together = row_uniforms([7], 12), row_uniforms([3, 7, 2**70 + 1], 12)
    assert torch.equal(alone[0], together[1])
    assert len({tuple(row.tolist()) for row in together}) == 3
    assert ((together >= 0) & (together < 1)).all()


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"min_p": 1.0}, {"top_k": -1}])
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        SamplingConfig.parse(wrong, where="here")
