"""What a decoder reads: embeddings put in by hand give the model's own states, and greedy tokens are its argmax."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_policies import PROMPTS, RESPONSES, batch_of
from tiny import BUILDERS, build

from homestretch.ops.logprobs import chunked_greedy
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk


def policy_of(name: str, *, budget: int = 1000) -> Policy:
    return Policy(Trunk(build(name)), None, budget=budget)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("left", [True, False])
def test_own_embeddings_change_nothing(name: str, left: bool) -> None:
    policy, batch = policy_of(name), batch_of(left=left)
    with torch.no_grad():
        ids_BL, _ = policy.inputs(batch)
        plain = policy.score(batch, want={"logp"}).logp_BT
        fed = policy.score(batch, want={"logp"}, inputs_embeds=policy.embed(ids_BL)).logp_BT
    where = batch.mask_BT.bool()
    torch.testing.assert_close(fed[where], plain[where], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["llama", "t5", "bart"])
@pytest.mark.parametrize("junk", [0, 2])
def test_the_mask_is_one_on_the_response_alone(name: str, junk: int) -> None:
    policy = policy_of(name)
    ids_BL, mask_BL = policy.inputs(batch_of(junk=junk))
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        before = prompt if name == "llama" else [policy.trunk.lm.config.decoder_start_token_id]
        n = len(before) + len(response)
        assert ids_BL[row, :n].tolist() == before + response
        assert mask_BL[row].nonzero().flatten().tolist() == list(range(len(before), n))
        assert not ids_BL[row, n:].any()


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_another_embedding_of_a_response_token_is_seen_by_those_behind_it_only(name: str) -> None:
    policy, batch = policy_of(name), batch_of()
    ids_BL, mask_BL = policy.inputs(batch)
    with torch.no_grad():
        embeds_BLD = policy.embed(ids_BL)
        plain = policy.score(batch, want={"logp"}, inputs_embeds=embeds_BLD).logp_BT
        second = int(mask_BL[0].nonzero()[1])
        embeds_BLD[0, second] += 1.0
        other = policy.score(batch, want={"logp"}, inputs_embeds=embeds_BLD).logp_BT
    changed = (plain != other) & batch.mask_BT.bool()
    assert changed.tolist() == [[False, False, True, True], [False] * 4, [False] * 4]


@pytest.mark.parametrize("name", BUILDERS)
def test_greedy_tokens_are_the_most_probable_given_those_before(name: str) -> None:
    policy, batch = policy_of(name, budget=12), batch_of()
    with torch.no_grad():
        found = policy.score(batch, want={"greedy", "logp"})
        greedy_BT, mask = found.greedy_BT, batch.mask_BT.bool()
        for column in range(batch.ids_BT.shape[1]):
            ids_BT = batch.ids_BT.clone()
            ids_BT[:, column] = greedy_BT[:, column]
            best = policy.score(replace(batch, ids_BT=ids_BT), want={"logp"}).logp_BT[:, column]
            for token in (0, 20, 37):
                ids_BT[:, column] = token
                less = policy.score(replace(batch, ids_BT=ids_BT), want={"logp"}).logp_BT[:, column]
                assert (less <= best + 1e-5)[mask[:, column]].all()
    assert greedy_BT.dtype == torch.long and not greedy_BT[~mask].any()


def test_greedy_in_chunks_and_of_nothing() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(7, 4, requires_grad=True), torch.randn(9, 4)
    expected = (hidden @ weight.T).argmax(-1)
    for rows in (1, 3, 100):
        assert torch.equal(chunked_greedy(hidden, lambda h: h @ weight.T, chunk_rows=rows), expected)
    assert chunked_greedy(hidden[:0], lambda h: h @ weight.T, chunk_rows=2).shape == (0,)
