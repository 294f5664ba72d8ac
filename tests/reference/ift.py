"""Coupled token losses of one response, from the sums that define them."""


def weights(loss: list[float], gamma: float, formula: str) -> list[float]:
    """Weight of each token by one of the three published forms; in the authors', gamma 0 means no coupling."""
    n = len(loss)
    if formula == "eq21":
        return [sum(gamma**i for i in range(t)) for t in range(1, n + 1)]
    if formula == "alg1":
        return [sum(gamma ** (n - t) * loss[i - 1] for i in range(t, n + 1)) for t in range(1, n + 1)]
    if gamma == 0:
        return [1.0] * n
    future = future_sums(loss, gamma)
    if sum(future) == 0:
        return [1.0] * n
    return [n * c / sum(future) for c in future]


def future_sums(loss: list[float], gamma: float) -> list[float]:
    """sum over i >= t of gamma^(i - t) l_i."""
    return [sum(gamma ** (i - t) * loss[i] for i in range(t, len(loss))) for t in range(len(loss))]


def objective(loss: list[float], gamma: float, formula: str) -> float:
    """L of one sequence."""
    total = sum(w * x for w, x in zip(weights(loss, gamma, formula), loss, strict=True))
    return total / len(loss) if formula == "authors" else total


def gradient(loss: list[float], gamma: float) -> list[float]:
    """dL/dl of the authors' form with live weights, by the closed form of the sheet."""
    n = len(loss)
    future = future_sums(loss, gamma)
    past = [sum(gamma ** (k - t) * loss[t] for t in range(k + 1)) for k in range(n)]
    share = [sum(gamma**i for i in range(k + 1)) for k in range(n)]
    a = sum(s * x for s, x in zip(share, loss, strict=True))
    q = sum(x * r for x, r in zip(loss, future, strict=True))
    return [(future[k] + past[k]) / a - q / a * share[k] / a for k in range(n)]


def mixed(own: list[float], predicted: list[float], lam: float) -> list[float]:
    """(1 - lam) e + lam E[z]."""
    return [(1 - lam) * e + lam * z for e, z in zip(own, predicted, strict=True)]
