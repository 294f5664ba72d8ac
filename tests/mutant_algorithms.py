"""Mistakes in the training methods (see mutant_table.py)."""

from __future__ import annotations

from mutant import of

MUTANTS = [
    *of(
        "algorithms/ppo",
        "test_ppo test_lookahead",
        ("(logp_BT - logp_old_BT.detach()).exp()  # eq. 4", "(logp_BT - logp_old_BT).exp()  # eq. 4"),
        ("return -clipped_surrogate(ratio_BT", "return clipped_surrogate(ratio_BT"),
        ("logp_old_BTK.softmax(-1).detach()", "logp_old_BTK.softmax(-1)"),
        ("logp_old_BTK.softmax(-1).detach()", "logp_old_BTK.exp().detach()"),
        ("(q_BTK - b_BT[..., None]).detach()", "q_BTK - b_BT[..., None]"),
        ("(logp_BTK - logp_old_BTK.detach()).exp()", "(logp_BTK - logp_old_BTK).exp()"),
        ("return -(weight_BTK * clipped", "return -(clipped"),
        ("    same_BB.fill_diagonal_(0)\n", ""),
        ("same_BB.sum(1).clamp(min=1)", "same_BB.sum(1).add(1)"),
        ("reward_B - others_mean(", "reward_B + others_mean("),
        ("token_rewards(centred_B, mask_BT) - self", "token_rewards(centred_B, mask_BT) + self"),
        ("whiten(adv_BT, mask_BT) if", "whiten(adv_BT, torch.ones_like(mask_BT)) if"),
        ("final_BT[..., None] & sampled_BTK", "final_BT[..., None] | sampled_BTK"),
        ("q_BTK = q_BTK - self.kl_coef", "q_BTK = q_BTK + self.kl_coef"),
        ("self.config.gamma * value_next_BTK", "value_next_BTK"),
        ("- config.ent_coef * scored", "+ config.ent_coef * scored"),
        ("config.vf_coef * value_BT -", "value_BT -"),
        ("n=len(rollout)", "n=1"),
        ("float(log_ratio_BT.sum(1).mean())", "float(log_ratio_BT.mean())"),
    ),
    *of(
        "algorithms/ppo",
        "test_ppo_models",
        ("self.round < self.config", "self.round <= self.config"),
        ('want={"value"}, heads_only=True', 'want={"value"}'),
        ("terms_BT = 0.5 * (value_BT", "terms_BT = (value_BT"),
    ),
    *of(
        "algorithms/sft",
        "test_sft",
        ("return -torch.where", "return torch.where"),
        ("torch.where(mask_BT.bool(), logp_BT, 0.0)", "logp_BT"),
        ("scored.entropy_BT.detach()", "-scored.entropy_BT.detach()"),
    ),
    *of(
        "algorithms/wbc",
        "test_wbc",
        ("return -(reward_B", "return (reward_B"),
        ("reward_B.detach()[:, None]", "reward_B[:, None]"),
        ("torch.where(mask_BT.bool(), logp_BT, 0.0)", "logp_BT"),
        ("batch.mask_BT).sum(1)", "batch.mask_BT).mean(1)"),
    ),
    *of(
        "algorithms/gold",
        "test_gold",
        ("return -(gold_weight", "return (gold_weight"),
        ("* prob_BT).detach()", "* prob_BT)"),
        ("clamp(min=floor)", "clamp(max=floor)"),
        ("torch.where(mask_BT.bool(), logp_BT, 0.0)", "logp_BT"),
        ("floor=self.config.floor).sum(1)", "floor=self.config.floor).mean(1)"),
    ),
    *of(
        "algorithms/reward_model",
        "test_reward_model",
        ("batch.chosen.joined(batch.rejected)", "batch.rejected.joined(batch.chosen)"),
        ('self.kind == "classifier"', 'self.kind == "pairwise"'),
        ("terms=loss(chosen_B, rejected_B)", "terms=loss(rejected_B, chosen_B)"),
        ("(chosen_B > rejected_B)", "(chosen_B < rejected_B)"),
    ),
]
