"""States behind tokens that a response might have had, against a row for each of them."""

from __future__ import annotations

import pytest
import torch
from test_policies import batch_of
from tiny import build

from homestretch.policies.causal import CausalDecoding, response_hidden

PROMPTS = [list(range(5, 17)), [18, 19]]
RESPONSES = [[20, 21, 22, 23, 24, 25], [26, 27, 28, 29, 30, 31]]
OTHERS = torch.arange(32, 56).view(2, 6, 2)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_branches_have_the_states_of_rows_of_their_own_beyond_a_window_too_and_leave_the_cache(attention):
    lm = build("gemma3").eval()
    lm.set_attn_implementation(attention)
    batch = batch_of(PROMPTS, RESPONSES)
    state = CausalDecoding(lm, batch.prompt_ids_BP, batch.prompt_mask_BP)
    state.read(batch.ids_BT, batch.mask_BT)
    first, again = state.branch(OTHERS), state.branch(OTHERS)
    assert torch.equal(first, again)
    for b, t, k in torch.cartesian_prod(torch.arange(2), torch.arange(6), torch.arange(2)).tolist():
        row = batch_of([PROMPTS[b]], [[*RESPONSES[b][:t], int(OTHERS[b, t, k])]])
        torch.testing.assert_close(first[b, t, k], response_hidden(lm, row)[0, -1], atol=1e-4, rtol=1e-4)
