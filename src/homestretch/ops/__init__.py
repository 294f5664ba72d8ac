"""Functions of tensors: log-probabilities, masks, reductions, returns, ratios, divergences, preferences, schedules.

Nothing of ours is imported here, nothing is logged, sampled or moved to a device. Hyperparameters are keyword-only.
Results are unreduced; `ops.reduce.aggregate` makes the one scalar of a loss, and its denominator is an argument.
Shapes are in the names: `_B` sequences, `_T` response tokens, `_P` prompt tokens, `_L` prompt and response tokens
together, `_N` rows of any origin, `_K` alternatives, `_C` worse responses, `_V` vocabulary, `_D` hidden.
"""
