"""Mistakes in the methods that learn from groups of samples, and in what ppo shares with them (see mutant_table.py)."""

from __future__ import annotations

from mutant import of

MUTANTS = [
    *of(
        "ops/groups",
        "test_ops_groups",
        ("    same_BB.fill_diagonal_(0)\n", ""),
        ("same_BB.sum(1).clamp(min=1)", "same_BB.sum(1).add(1)"),
        ("same_BB.sum(1).clamp(min=1)", "same_BB.sum(1)"),
        ("reward_B - (same_BB @ reward_B) / count_B", "reward_B - (same_BB @ reward_B) / (count_B - 1).clamp(min=1)"),
        ("(same_BB @ centred_B.square()) / count_B", "(same_BB @ centred_B.square()) / (count_B - 1)"),
        ("centred_B / (variance_B.sqrt() + eps)", "centred_B / (variance_B + eps)"),
        ("(variance_B.sqrt() + eps)", "variance_B.sqrt().clamp(min=eps)"),
        ("(same_BB @ centred_B.square()) / count_B", "(same_BB @ reward_B.square()) / count_B - 1"),
    ),
    *of(
        "algorithms/rloo",
        "test_rloo",
        ("reward_B - kl_coef * kl_B", "reward_B + kl_coef * kl_B"),
        (
            "(penalised_B - others_mean(penalised_B, index_B)).detach()",
            "penalised_B - others_mean(penalised_B, index_B)",
        ),
        ("others_mean(penalised_B, index_B)", "others_mean(reward_B, index_B)"),
        ("logp_BT - logp_old_BT.detach(), 0.0", "logp_BT - logp_old_BT, 0.0"),
        ("torch.where(mask_BT.bool(), logp_BT - logp_old_BT.detach(), 0.0)", "(logp_BT - logp_old_BT.detach())"),
        ("0.0).sum(1).exp()", "0.0).mean(1).exp()"),
        ("return -clipped_surrogate", "return clipped_surrogate"),
        ("log_ratio_BT.sum(1), index_B", "log_ratio_BT.mean(1), index_B"),
        ("cliprange=self.config.cliprange)\n        diagnostics |=", "cliprange=0.01)\n        diagnostics |="),
    ),
    *of(
        "algorithms/grpo",
        "test_grpo",
        ("(logp_BT - logp_old_BT.detach()).exp()", "(logp_BT - logp_old_BT).exp()"),
        ("kl_k3(logp_BT, logp_ref_BT.detach())", "kl_k3(logp_BT, logp_ref_BT)"),
        ("kl_k3(logp_BT, logp_ref_BT.detach())", "kl_k3(logp_BT.detach(), logp_ref_BT.detach())"),
        ("return -(objective_BT - penalty_BT)", "return -(objective_BT + penalty_BT)"),
        ("return -(objective_BT - penalty_BT)", "return objective_BT - penalty_BT"),
        ('scale=self.config.scale_rewards == "group").detach()', 'scale=self.config.scale_rewards == "group")'),
        ('self.config.scale_rewards == "group"', 'self.config.scale_rewards != "group"'),
        ("average=config.average", 'average="sequence"'),
        ("beta=config.beta", "beta=0.04"),
    ),
    *of(
        "algorithms/groups",
        "test_rloo test_groups_models",
        ('want={"logp"})\n        reward_B', 'want={"logp", "entropy"})\n        reward_B'),
        ("old.logp_BT - ref.logp_BT, 0.0", "ref.logp_BT - old.logp_BT, 0.0"),
        ("    @torch.no_grad()\n", ""),
    ),
    *of(
        "algorithms/rollouts",
        "test_ppo test_rloo test_groups_models",
        ("(logp_old_BT - logp_ref_BT) * responses.mask_BT", "(logp_ref_BT - logp_old_BT) * responses.mask_BT"),
        ("(logp_old_BT - logp_ref_BT) * responses.mask_BT", "logp_old_BT - logp_ref_BT"),
        ("float(log_ratio_BT.sum(1).mean())", "float(log_ratio_BT.mean())"),
        ("    if sampled is not None and all(", "    if False and all("),
        (".argsort(stable=True)", ""),
        ("0.5 * log_ratio_BT.square()", "log_ratio_BT.square()"),
        ("(logp_BT - logp_old_BT) * mask_BT", "(logp_old_BT - logp_BT) * mask_BT"),
        ("((ratio - 1).abs() > cliprange)", "((ratio - 1) > cliprange)"),
    ),
    *of(
        "generation/rollout",
        "test_engine test_groups_models",
        ("policy.decodes_as_it_scores and sampling.is_plain", "sampling.is_plain"),
        ("policy.decodes_as_it_scores and sampling.is_plain", "policy.decodes_as_it_scores"),
        ("logp_sampled_BT=logp_BT, value_sampled_BT=value_BT", "logp_sampled_BT=value_BT, value_sampled_BT=value_BT"),
    ),
    *of(
        "training/terminal_reward",
        "test_online_stages",
        ('scores = {} if reward is None else {"scores": score_B}', 'scores = {"scores": score_B}'),
    ),
    *of(
        "config/rollouts",
        "test_online_stages",
        ("return any(term.weight for term in self.rewards.values())", "return bool(self.rewards)"),
        ("return any(term.weight for term in self.rewards.values())", "return False"),
        ("Field(8, ge=2)", "Field(8, ge=1)"),
        ("if self.rollout_batch_size % self.num_generations:", "if False:"),
    ),
]
