"""Mistakes in what surrounds the mathematics: orders, batches, the training loop, adapters, memory, estimates."""

from __future__ import annotations

from mutant import of

MUTANTS = [
    *of("data/files", "test_sources", ('(".yaml", ".yml")', '(".yml",)'), ('(".yaml", ".yml")', '(".yaml",)')),
    *of(
        "data/samplers",
        "test_samplers",
        ("rows.setdefault(group, [])", "rows.setdefault(i, [])"),
        ("math.ceil(len(groups) / size)", "len(groups) // size"),
        ("seed=seed, epoch=epoch)", "seed=seed, epoch=0)"),
        ("seed=seed, epoch=epoch)", "seed=0, epoch=epoch)"),
        ("order[at * size : (at + 1) * size]", "order[at : at + size]"),
    ),
    *of(
        "ops/masks",
        "test_shared_prompts",
        ("order_U.argsort()[inverse_B]", "order_U[inverse_B]"),
        ('"amin"', '"amax"'),
    ),
    *of(
        "batch",
        "test_shared_prompts",
        ("distinct_rows(torch.cat([ids_BP, mask_BP], 1))", "distinct_rows(ids_BP)"),
        ("[ids_BP, mask_BP], 1", "[self.prompt_ids_BP, self.prompt_mask_BP], 1"),
        ("self.ids_BT * self.mask_BT, self.mask_BT], 1", "self.ids_BT * self.mask_BT], 1"),
        ("(0, width_T - t.shape[1])", "(width_T - t.shape[1], 0)"),
        ("for batch in (self, other)]", "for batch in (other, self)]"),
    ),
    *of("policies/causal", "test_shared_prompts", ("if inputs_embeds is None and len", "if False and len")),
    *of("policies/trunk", "test_shared_prompts", ("if len(first_U) == len(batch):", "if True:")),
    *of(
        "policies/policy",
        "test_engine",
        ("                state.cast(self.trunk.lm.dtype)\n", "                pass\n"),
        (
            "            with self.autocast():\n                state",
            "            with nullcontext():\n                state",
        ),
        ("nullcontext() if on_cpu else self.autocast()", "self.autocast()"),
    ),
    *of(
        "policies/policy",
        "test_policies",
        ("            self.trunk.active = self.adapter", "            pass"),
        ("                module.training = training", "                pass"),
        ("        finally:\n", "        except ZeroDivisionError:\n            raise\n        else:\n"),
        ("        self.trunk.eval()\n", ""),
    ),
    *of(
        "policies/memory",
        "test_policies",
        ("        trim(0)", "        pass"),
        ('if sys.platform == "linux" else None', "if True else None"),
        ("if trim is not None:", "if True:"),
    ),
    *of(
        "training/loop",
        "test_loop",
        ("self.at.round == 0 and plan.keep_start", "plan.keep_start"),
        ("self.at.round == 0 and plan.keep_start", "self.at.round == 0"),
        ("self.at.round == 0 and plan.keep_start", "False"),
        ("if self.at.best_round is not None", "if self.at.best_round"),
    ),
    *of(
        "verbs/doctor",
        "test_verbs",
        ("models=3 if rl", "models=2 if rl"),
        ("adapters=2 + own_value", "adapters=2"),
        ("views=1 + own_value", "views=1"),
        ("several=batch > budget", "several=False"),
        ("answers * answer", "answer"),
        ("pass_tokens=min(budget, batch)", "pass_tokens=budget"),
        ("(load.prompt + load.answer) / load.failures", "load.prompt + load.answer"),
        ("load.prompt / config.num_generations", "load.prompt"),
        ("config.num_ppo_epochs * step", "step"),
        ("(speed * EFFICIENCY)", "speed"),
    ),
    *of(
        "costs",
        "test_costs",
        ("rank * shape.sides", "shape.sides"),
        ("2.0 * learning", "learning"),
        ("* work.views", ""),
        ("(learning if work.several else 0)", "0"),
        ("work.models * shape.parameters", "shape.parameters"),
        ("held + max(parts", "held + min(parts"),
        ("KEPT_FULL if full", "KEPT_LORA if full"),
    ),
    *of("policies/shape", "test_costs", ("and m is not head", ""), ("m.nf if isinstance", "m.nx if isinstance")),
]
