"""The shaped reward of one response."""


def penalty(form: str, length: int, ref_length: int, *, coef: float, budget: float) -> float:
    """The length penalty, form by form."""
    if form == "ratio":
        return coef * max(0.0, length / ref_length - 1)
    if form == "deviation":
        return coef * abs(length / ref_length - 1)
    if form == "linear":
        return coef * length
    if form == "budget":
        return coef * max(0.0, length - budget)
    return 0.0


def reward(score: float, cost: float, terminated: bool, *, clip_range: float, c_eos: float) -> float:
    """The score cut to its range, minus the length penalty, minus c_eos where the end marker is missing."""
    return max(-clip_range, min(clip_range, score)) - cost - (0.0 if terminated else c_eos)
