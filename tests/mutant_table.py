"""The mistakes of mutants.py: in this file, this text, replaced by that, must turn these tests red."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """`find` stands exactly once in `file`; `tests` are files of this folder."""

    file: str
    find: str
    put: str
    tests: tuple[str, ...]


def _of(module: str, test: str, *changes: tuple[str, str]) -> list[Mutant]:
    tests = tuple(f"{name}.py" for name in test.split())
    return [Mutant(f"src/homestretch/{module}.py", find, put, tests) for find, put in changes]


MUTANTS = [
    *_of(
        "ops/logprobs",
        "test_ops_logprobs",
        ("gather(-1, columns_nK) - lse_n1", "gather(-1, columns_nK) + lse_n1"),
        ("gather(-1, columns_nK) - lse_n1", "gather(-1, columns_nK) - lse_n1.detach()"),
        ("lse_n1.squeeze(-1) - (", "lse_n1.squeeze(-1) + ("),
        ("(prob_nV * finite_nV)", "(prob_nV * logits_nV)"),
        ("(prob_nV * finite_nV)", "(prob_nV.detach() * finite_nV)"),
        ("torch.promote_types(logits_nV.dtype, torch.float32)", "logits_nV.dtype"),
        ("torch.promote_types(logits_nV.dtype, torch.float32)", "torch.float32"),
        ("checkpoint(_chunk, states_nD", "(lambda f, *rest, **_: f(*rest))(_chunk, states_nD"),
        ("rows = max(len(hidden_ND), 1)", "rows = len(hidden_ND)"),
        ("range(0, rows, chunk_rows)", "range(0, rows, chunk_rows + 1)"),
        ("torch.cat([h for _, h in parts]) if entropy else None", "torch.cat([h for _, h in parts])"),
    ),
    *_of(
        "ops/masks",
        "test_ops_masks",
        ("< length_B[:, None]", "<= length_B[:, None]"),
        ("stable=True", "stable=False"),
        ("descending=True", "descending=False"),
        ("ids_BL.gather(1, order_BL) * mask_BL", "ids_BL.gather(1, order_BL)"),
        ("prompt_mask_BP.bool().sum(1)", "prompt_mask_BP.shape[1] + 0 * prompt_mask_BP.sum(1)"),
        ("prompt_length_B[:, None] - 1 +", "prompt_length_B[:, None] +"),
        ("torch.minimum(", "torch.maximum("),
        ("torch.arange(width_T + 1,", "torch.arange(width_T,"),
    ),
    *_of(
        "ops/reduce",
        "test_ops_reduce",
        ("return torch.where(mask.bool(), values,", "return torch.where(mask.bool() | True, values,"),
        ("return _kept(values, mask).sum() / mask.bool().sum()", "return _kept(values, mask).sum() / mask.numel()"),
        (".sum().clamp(min=1)", ".sum()"),
        ("        return mask.bool().sum()", "        return mask.bool().sum().clamp(min=1)"),
        ("torch.tensor(len(mask), device", "mask.bool().reshape(len(mask), -1).any(-1).sum().to(device"),
        ("kept.sum(within_row) / mask.bool().sum(within_row).clamp(min=1)", "kept.sum(within_row) / mask.shape[1]"),
        ("mask.bool().sum(within_row).clamp(min=1)", "mask.bool().sum(within_row)"),
        ('if average == "sequence":', 'if average == "token":'),
        ("torch.where(total == 0, torch.ones_like(total), total)", "total"),
        ("torch.where(total == 0, torch.ones_like(total), total)", "mask.bool().sum().clamp(min=1)"),
        ("masked_mean(centred.square(), mask)", "masked_mean(values.square(), mask)"),
        ("centred / (std + eps)", "centred / std"),
        (
            "masked_mean(centred.square(), mask)",
            "(masked_mean(centred.square(), mask) * mask.sum() / (mask.sum() - 1).clamp(min=1))",
        ),
    ),
    *_of(
        "ops/returns",
        "test_ops_returns",
        ("@torch.no_grad()\n", ""),
        ("gamma * next_value_BT - value_BT", "gamma * next_value_BT + value_BT"),
        ("gamma * next_value_BT", "next_value_BT"),
        ("gamma * lam * following_B", "lam * following_B"),
        ("delta_BT[:, t] + gamma", "delta_BT[:, t] - gamma"),
        ("value_BT.masked_fill(~valid_BT, 0)", "value_BT"),
        ("reward_BT.masked_fill(~valid_BT, 0)", "reward_BT"),
        ("torch.zeros_like(value_BT[:, :1])", "value_BT[:, -1:]"),
        ("adv_BT, adv_BT + value_BT", "adv_BT, adv_BT - value_BT"),
        ("mask_BT.bool().sum(1) - 1", "mask_BT.bool().sum(1)"),
        ("mask_BT.bool().sum(1) - 1", "mask_BT.bool().sum(1).clamp(min=1) - 1"),
    ),
    *_of(
        "ops/ratios",
        "test_ops_ratios",
        ("torch.minimum(ratio", "torch.maximum(ratio"),
        ("    adv = adv.detach()\n", ""),
        ("clamp(1 - cliprange, 1 + cliprange)", "clamp(max=1 + cliprange)"),
        ("clamp(1 - cliprange, 1 + cliprange)", "clamp(min=1 - cliprange)"),
        ("torch.maximum((value", "torch.minimum((value"),
        ("value_old.detach(), ret.detach()", "value_old, ret.detach()"),
        ("value_old.detach(), ret.detach()", "value_old.detach(), ret"),
        ("0.5 * torch.maximum", "torch.maximum"),
        ("value_old - cliprange_value", "value_old + cliprange_value"),
    ),
    *_of(
        "ops/divergences",
        "test_ops_divergences",
        ("return logp - logp_ref", "return logp_ref - logp"),
        ("log_ratio = logp_ref - logp", "log_ratio = logp - logp_ref"),
        ("log_ratio.expm1() - log_ratio", "log_ratio.exp() - log_ratio"),
        ("log_ratio.expm1() - log_ratio", "log_ratio.expm1() + log_ratio"),
    ),
    *_of(
        "ops/preference",
        "test_ops_preference",
        ("softplus(-reward_chosen_B)", "softplus(reward_chosen_B)"),
        ("softplus(_alternatives(reward_rejected_BC)).mean(-1)", "softplus(_alternatives(reward_rejected_BC)).sum(-1)"),
        ("reward_chosen_B[:, None] - _alt", "reward_chosen_B[:, None] + _alt"),
        ("difference_BC - margin_B", "difference_BC + margin_B"),
        ("softplus(-difference_BC)", "softplus(difference_BC)"),
        ("softplus(-difference_BC).mean(-1)", "softplus(-difference_BC).sum(-1)"),
    ),
    *_of(
        "ops/schedules",
        "test_ops_schedules",
        ("kl / target - 1.0", "kl / target + 1.0"),
        ("(1.0 + error", "(1.0 - error"),
        ("-0.2), 0.2)", "-0.2), 2.0)"),
        ("-0.2), 0.2)", "-1.0), 0.2)"),
        ("error * n / horizon", "error / horizon"),
        ("step / warmup_steps", "(step + 1) / warmup_steps"),
        ("max(total_steps - warmup_steps, 1)", "max(total_steps, 1)"),
        ("max(total_steps - warmup_steps, 1), 1.0)", "max(total_steps - warmup_steps, 1), 2.0)"),
        ("1.0 + math.cos", "1.0 - math.cos"),
    ),
    *_of(
        "rewards/shaping",
        "test_shaping",
        ("ref_length_B.clamp(min=1) - 1)", "ref_length_B.clamp(min=1))"),
        ("ref_length_B.clamp(min=1)", "ref_length_B"),
        ("- 1).clamp(min=0)", "- 1)"),
        ("(length_B - budget).clamp(min=0)", "(length_B - budget)"),
        ("(length_B - budget)", "(length_B + budget)"),
        ("length_B.detach().float()", "length_B.float()"),
        ("score_B.detach()", "score_B"),
        ("penalty_B.detach()", "penalty_B"),
        ("clipped_B - penalty_B", "clipped_B + penalty_B"),
        ("- missing_eos_penalty *", "+ missing_eos_penalty *"),
        ("(~terminated_B.bool())", "(terminated_B.bool())"),
        (".clamp(-reward_clip_range, reward_clip_range)", ".clamp(max=reward_clip_range)"),
    ),
    *_of(
        "negatives/base",
        "test_negatives_guards test_negatives_refusals",
        ("and differs(example, negative)", ""),
        ("and all(g(example, negative) for g in guards)", ""),
        ("for _ in range(tries)", "for _ in range(tries + 1)"),
        ("kind) <= limit", "kind) >= limit"),
        ("len(ours - known_words(example))", "len(ours)"),
    ),
    *_of(
        "negatives/phrases", "test_negatives_guards test_negatives_refusals", ("            right.remove(pair)\n", "")
    ),
    *_of(
        "negatives/surface",
        "test_negatives_guards test_negatives_refusals",
        ("before, after) > MAX_SURVIVING", "before, after) > 1"),
        ("if size > 1 and len(set(gram)) < 2", "if False"),
        ("rng.choice(corpus.lengths)", "7"),
        ('terminated=False, variant="continued"', 'variant="continued"'),
        ("None if is_finished(text) or", "None if"),
    ),
    *_of(
        "negatives/context",
        "test_negatives_guards test_negatives_refusals",
        ('return guarded(draw, overlap_at_most(NOT_COPIED, "rougeL"))', "return guarded(draw)"),
        ("if donor is None or donor.source == example.source:", "if donor is None:"),
        ("units(example.source)", "units(str(example.prompt))"),
    ),
    *_of(
        "negatives/facts",
        "test_negatives_guards test_negatives_refusals",
        ("other and other.casefold() not in evidence and", "other and"),
        ("example.source, *example.references)).casefold", "example.source,)).casefold"),
        ("if new in known or", "if"),
        ("> corpus.frequency[new]", "> corpus.frequency[old]"),
    ),
]
