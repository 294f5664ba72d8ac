"""Mistakes that only several processes can show, or memory that runs out (see mutant_table.py)."""

from __future__ import annotations

from mutant import of

MUTANTS = [
    *of(
        "ops/micro_batches",
        "test_samplers",
        ("length + whole / copies[p]", "length + whole"),
        ("count * middle / total", "count * before / total"),
        ("[sorted(share) for share in shares]", "shares"),
    ),
    *of(
        "collectives",
        "test_ranks",
        ("    return gathered(value)[0]", "    return gathered(value)[-1]"),
        ("list(items[ranks.rank() :: step])", "list(items)"),
        ("function(mine) if mine else []", "function(mine)"),
        ("made[i % step][i // step]", "made[i // step][i % step]"),
        ("            dist.all_reduce(flat)\n", "            pass\n"),
        ("+ tensor.numel() > BUCKET", "> BUCKET"),
    ),
    *of(
        "training/gradients",
        "test_ranks",
        ("batch.shares(ranks.count())[ranks.rank()], terms_of", "batch.shares(ranks.count())[0], terms_of"),
        ("        first.join(other)", "        pass"),
        ("        self.count += other.count", "        pass"),
        ("        self.loss += other.loss", "        pass"),
        ("        self.trained |= other.trained", "        pass"),
        ("        self.budget = min(self.budget, other.budget)", "        pass"),
        ("            self._add(key, total, n)", "            pass"),
        ("            parameter.grad = None\n", "            pass\n"),
        ("    with ranks.alone():", "    if True:"),
        ("div_(max(first.count, 1))", "div_(max(first.count / ranks.count(), 1))"),
    ),
    *of(
        "policies/policy",
        "test_ranks",
        ("batch.shares(ranks.count())[ranks.rank()]", "batch.shares(1)[0]"),
        ("batch.shares(ranks.count())[ranks.rank()]", "batch.shares(ranks.count())[0]"),
    ),
    *of("generation/schedule", "test_ranks", ("longest_first[ranks.rank() :: ranks.count()]", "longest_first")),
    *of("generation/candidates", "test_ranks", ("token[order]", "token")),
    *of("training/loop", "test_ranks", ("any(other != sums for", "all(other != sums for")),
    *of(
        "policies/memory",
        "test_memory",
        ("        budget //= 2\n", "        budget -= 1\n"),
        ("            if not is_out_of_memory(error):\n                raise\n", "            pass\n"),
        ("isinstance(error, torch.OutOfMemoryError) or ", ""),
    ),
    *of(
        "training/gradients",
        "test_memory",
        ('        torch.manual_seed(fold("update", seed, ranks.rank()))\n', ""),
        ("            parameter.grad = None\n", "            pass\n"),
    ),
    *of(
        "training/loop",
        "test_memory",
        ("        self.at.budget = budget\n", ""),
        ("self.at.budget or self.plan.budget", "self.plan.budget"),
    ),
    *of("policies/policy", "test_memory", ("            self.budget = budget\n", "")),
    *of(
        "results",
        "test_ranks",
        ("    if not ranks.is_first():\n        return\n", ""),
    ),
]
