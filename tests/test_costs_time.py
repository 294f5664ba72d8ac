"""Time and traffic of stages, worked out by hand."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from homestretch.costs import time, traffic
from homestretch.costs.shape import Row, Shape
from homestretch.costs.time import Machine, Round

SHAPE = Shape(
    parameters=1000, layers=4, hidden=8, is_encoder_decoder=False, linear=700, head=300, sides=50, outputs=30,
    key_values=20,
)  # fmt: skip
ROW = Row(prompt=10, answer=6, sharing=5)
# Two tokens of the prompt and six of the answer; a query of the answer sees 10 and 3 more on average, one of the prompt
# 5, of which a fifth counts.
LINEAR, ATTENTION, HEAD = 2 * 700 * 8, 4 * 8 * 4 * (6 * 13 + 10), 2 * 300 * 6
HALF = replace(SHAPE, is_encoder_decoder=True)


def test_reading_by_hand() -> None:
    assert time.reading(SHAPE, ROW) == LINEAR + ATTENTION + HEAD
    assert time.reading(SHAPE, ROW, scored=False) == LINEAR + ATTENTION
    assert time.reading(HALF, ROW, scored=False) == (LINEAR + ATTENTION) / 2


def test_learning_by_hand() -> None:
    """A product has two products behind it, one where its weight is frozen; attention has no weights."""
    assert time.learning(SHAPE, ROW, None) == 3 * LINEAR + 3 * ATTENTION + 4 * HEAD
    adapters = 2 * 3 * 50 * 8
    lora = 2 * LINEAR + 3 * ATTENTION + 3 * adapters
    assert time.learning(SHAPE, ROW, 3) == lora + 3 * HEAD
    assert time.learning(SHAPE, ROW, 3, scored=False) == lora
    assert time.learning(SHAPE, ROW, 3, scored=False, checkpointing=True) == lora + LINEAR + ATTENTION + adapters


def test_half_of_the_nearer_limit_is_reached() -> None:
    machine = Machine(rate=10, bandwidth=5)
    assert machine.seconds(100, 10) == 2 * 10
    assert machine.seconds(100, 100) == 2 * 20


def test_a_decoding_step_by_hand() -> None:
    assert time.step_bytes(SHAPE, rows=7, tokens=13) == 4 * (700 + 300 + 7 * 13 * 20)
    assert time.step_bytes(SHAPE, rows=7, tokens=13, width=2) == 2 * (700 + 300 + 7 * 13 * 20)
    assert time.step_operations(SHAPE, rows=7, tokens=13) == 7 * (2 * 1000 + 4 * 8 * 4 * 13)
    assert time.step_bytes(HALF, rows=0, tokens=0) == 4 * (350 + 300)


def test_a_round_by_hand() -> None:
    machine = Machine(rate=1e3, bandwidth=1e9)
    found = time.round_seconds(SHAPE, ROW, machine, Round(samples=20, rows=4, epochs=2), 3)
    # 20 samples, 4 at a time, six steps each; their prompts are read before, two tokens for each
    step = 4 * (2 * 1000 + 4 * 8 * 4 * 13) / 500
    prompt = (2 * 700 * 2 + 4 * 8 * 4 * 10) / 500
    assert found["decoding"] == pytest.approx(20 / 4 * 6 * step + 20 * prompt)
    assert found["scoring"] == pytest.approx(20 * (3 * (LINEAR + ATTENTION) + 2 * HEAD) / 500)
    assert found["updates"] == pytest.approx(20 * 2 * time.learning(SHAPE, ROW, 3) / 500)


def test_fewer_samples_than_places_decode_together() -> None:
    slow = Machine(rate=1e9, bandwidth=1e3)
    found = [time.decoding_seconds(SHAPE, Row(0, 6), slow, samples=5, rows=rows) for rows in (5, 48)]
    assert found[0] == found[1] > 0
    assert time.decoding_seconds(SHAPE, ROW, slow, samples=0, rows=48) == 0


def test_traffic_by_hand() -> None:
    """Of four processes each sends three quarters, twice for a sum."""
    assert traffic.update_traffic(SHAPE, None, 4) == 2 * 3 / 4 * 4000
    assert traffic.update_traffic(SHAPE, 3, 4) == 2 * 3 / 4 * 4 * 150
    gathered = 3 / 4 * 2 * 1000
    assert traffic.update_traffic(SHAPE, 3, 4, sharded=True, passes=5, width=2) == 5 * 2 * gathered + 900
    full = traffic.update_traffic(SHAPE, None, 4, sharded=True, passes=5)
    assert full == 5 * (2 * 3000 + 3000), "gathered twice, gradients scattered, in each pass"
    assert traffic.pass_traffic(SHAPE, 4, passes=5, width=2) == 5 * gathered
    assert traffic.update_traffic(SHAPE, None, 1) == traffic.text_traffic(10, 6, 1) == 0


def test_a_text_weighs_what_is_sent_of_it() -> None:
    from homestretch.generation.schedule import Sample

    tokens = 4000
    sample = Sample(list(range(70_000, 70_000 + tokens)), [-1 / (i + 2) for i in range(tokens)], True,
                    [1 / (i + 2) for i in range(tokens)])  # fmt: skip
    assert len(pickle.dumps(sample)) == pytest.approx(traffic.TEXT * tokens, rel=0.02)
    assert traffic.text_traffic(10, 6, 2) == traffic.TEXT * 60 / 2
