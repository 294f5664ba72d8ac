"""data/tokenize.py and collate.py: lengths are kept or refused by name, and masks come from lengths."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_tokenizers import CHAT, SPECIALS, tokenizer

from homestretch.data.collate import collate, collate_pairs, collate_texts, pad
from homestretch.data.records import example_from_row
from homestretch.data.tokenize import TokenizedExample, length_check, tokenize_examples, tokenize_pairs
from homestretch.errors import DataError

EOS, PAD = SPECIALS.index("</s>"), SPECIALS.index("<pad>")
T = tokenizer()


def rows(*given, **options):
    examples = [example_from_row(row, where=f"d.jsonl:{i}") for i, row in enumerate(given, 1)]
    return tokenize_examples(examples, T, is_encoder_decoder=False, **options)


def test_examples_keep_order_index_reward_and_reference_length():
    first, second = rows({"prompt": "ab", "completion": "c", "reward": 2}, {"prompt": "x", "completion": "yz"})
    assert (first.index, T.decode(first.prompt_ids), first.ref_length, first.reward) == (0, "ab", 2, 2.0)
    assert (second.index, second.ref_length, second.reward, second.truncated, second.terminated) == (
        1,
        3,
        None,
        False,
        True,
    )


def test_too_long_is_refused_by_name():
    row = {"prompt": "abcdef", "completion": "vwxyz"}
    with pytest.raises(DataError) as error:
        rows({"prompt": "a", "completion": "b"}, row, max_prompt_length=5)
    assert str(error.value) == (
        "d.jsonl:2: the prompt has 6 tokens, more than the 5 that fit; "
        "shorten it, set dataset.truncate=true, or raise dataset.max_prompt_length where the model has room."
    )
    with pytest.raises(
        DataError, match=r"d.jsonl:1: the completion has 6 tokens, more than the 5 that fit; .*\.max_completion_length "
    ):
        rows(row, max_completion_length=5)
    assert rows(row, max_prompt_length=6, max_completion_length=6)[0].ref_length == 6


@pytest.mark.parametrize(("limit", "kept"), [(1, "a"), (2, "af"), (3, "abf"), (4, "abef"), (6, "abcdef")])
def test_truncation_takes_the_middle_of_a_prompt(limit, kept):
    [row] = rows({"prompt": "abcdef", "completion": "c"}, max_prompt_length=limit, truncate=True)
    assert T.decode(row.prompt_ids) == kept and row.truncated == (limit < 6)


def test_truncation_takes_the_end_of_a_completion_and_its_end_marker():
    [row] = rows({"prompt": "a", "completion": "vwxyz"}, max_completion_length=4, truncate=True)
    assert T.decode(row.completion_ids) == "vwxy" and (row.ref_length, row.terminated, row.truncated) == (
        6,
        False,
        True,
    )


def test_length_check_is_for_sources():
    check = length_check(T, is_encoder_decoder=False, max_prompt_length=2)
    check(example_from_row({"prompt": "ab", "completion": "c"}, where="d:1"))
    with pytest.raises(DataError, match="d:2: the prompt has 3 tokens"):
        check(example_from_row({"prompt": "abc", "completion": "c"}, where="d:2"))


def test_pads_and_masks_by_hand():
    batch = collate([TokenizedExample(5, [9, 8], [7, EOS], 2), TokenizedExample(3, [9], [6, 5, EOS], 3, reward=1.0)])
    assert batch.prompt_mask_BP.tolist() == [[1, 1], [0, 1]] and batch.prompt_ids_BP[1, 1] == 9
    assert batch.mask_BT.tolist() == [[1, 1, 0], [1, 1, 1]] and batch.ids_BT[1].tolist() == [6, 5, EOS]
    assert (batch.index_B.tolist(), batch.ref_length_B.tolist(), batch.reward_B) == ([5, 3], [2, 3], None)
    assert batch.prompt_ids_BP.dtype == batch.ids_BT.dtype == torch.long


def test_pad_tokens_inside_a_text_still_count():
    batch = collate([TokenizedExample(0, [PAD, 9, 0], [0, PAD, EOS], 3, reward=0.5)])
    assert batch.prompt_mask_BP.sum() == 3 and batch.mask_BT.sum() == 3 and batch.reward_B.tolist() == [0.5]


IDS = st.lists(st.integers(0, 60), max_size=7)


@given(st.lists(IDS, min_size=1, max_size=6), st.sampled_from(["left", "right"]))
def test_padding_is_lossless(lists, side):
    ids, mask = pad(lists, side=side)
    assert [row[m.bool()].tolist() for row, m in zip(ids, mask, strict=True)] == lists
    steps = mask.diff(dim=1)
    assert (steps >= 0).all() if side == "left" else (steps <= 0).all()


def pairs(*given, **options):
    examples = [example_from_row(row, where=f"d.jsonl:{i}") for i, row in enumerate(given, 1)]
    return tokenize_pairs(examples, T, is_encoder_decoder=False, **options)


def test_pairs_share_the_prompt_and_know_the_failure():
    row = {"prompt": "p", "chosen": "good", "rejected": "bad", "failure_mode": "copy", "margin": 1}
    [pair] = pairs(row)
    assert pair.chosen.prompt_ids == pair.rejected.prompt_ids and T.decode(pair.rejected.completion_ids) == "bad</s>"
    batch = collate_pairs(pairs(row, row | {"failure_mode": "shuffled"}), failure_modes=["shuffled", "copy"])
    assert batch.failure_mode_B.tolist() == [1, 0] and batch.margin_B.tolist() == [1, 1] and len(batch) == 2
    assert collate_pairs([pair]).failure_mode_B is None
    bare = {k: v for k, v in row.items() if k != "margin"}
    assert collate_pairs(pairs(row, bare)).margin_B.tolist() == [1, 0], "no margin is a margin of 0"


def test_a_worse_response_may_lack_its_end():
    [open_end, cut] = pairs(
        {"prompt": "p", "chosen": "ok", "rejected": "ba", "rejected_terminated": False},
        {"prompt": "p", "chosen": "ok", "rejected": "bababa"},
        max_completion_length=4,
    )
    assert T.decode(open_end.rejected.completion_ids) == "ba" and T.decode(cut.rejected.completion_ids) == "baba"
    assert (open_end.rejected.terminated, cut.rejected.terminated, cut.chosen.terminated) == (False, False, True)


def test_pairs_need_a_worse_response():
    with pytest.raises(DataError) as error:
        pairs({"prompt": "p", "completion": "c"})
    assert (
        str(error.value) == "d.jsonl:1: there is no column `rejected`; give preference rows (prompt, chosen, rejected)."
    )


def test_texts_and_chats_become_one_batch():
    chat = tokenizer(template=CHAT)
    user = [{"role": "user", "content": "hi"}]
    batch = collate_texts(chat, ["q", user], ["ab", "c"], terminated=[False, True], is_encoder_decoder=False)
    texts = [chat.decode(ids[m.bool()]) for ids, m in zip(batch.ids_BT, batch.mask_BT, strict=True)]
    assert texts == ["ab", "c<|end|>"] and batch.terminated_B.tolist() == [False, True]
