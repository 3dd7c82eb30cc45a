"""What a policy does, from exact log-ratios on responses of the model before training, or from responses of its own."""

from __future__ import annotations

from typing import Any

import numpy as np


def by_weights(ratio: Any, values: Any) -> dict[str, Any]:
    """KL and gains with errors over prompts, from log pi - log pi0 (G, n) of responses drawn from pi0.

    Without bias, since the mean of exp(ratio) is known to be 1: a prompt's gain is the sample covariance of the weight
    and the value (G, n, J), and its KL the mean of w r - w + 1, of which no term is negative.
    """
    r = np.asarray(ratio, np.float64)
    w, n = np.exp(r), r.shape[1]
    spread = w - w.mean(1, keepdims=True)
    gains = np.einsum("gn,gnj->gj", spread, values - values.mean(1, keepdims=True)) / (n - 1)
    kl, mean = (w * r - w + 1).mean(1), w.mean(1)
    return {
        "kl": kl.mean(), "kl_se": _se(kl), "gain": gains.mean(0), "gain_se": _se(gains), "mean_ratio": mean.mean(),
        "mean_ratio_se": _se(mean), "ess": float((w.sum(1) ** 2 / (w**2).sum(1) / n).mean()),
        "_gain": gains, "_kl": kl,
    }  # fmt: skip


def matched_se(found: dict[str, Any], slope: Any) -> Any:
    """Error of a gain less the forecast's at the KL that was realised: the forecast moves with that KL's own error."""
    return _se(found["_gain"] - slope * found["_kl"][:, None])


def by_samples(ratio: Any, values: Any, base: Any) -> dict[str, Any]:
    """The same from log pi - log pi0 (G, n) and values of responses drawn from pi, less the means (G, J) under pi0.

    E_pi[exp(-r)] = 1, so the mean of r + exp(-r) - 1 is the KL, and no term is negative.
    """
    r = np.asarray(ratio, np.float64)
    kl, gains = (r + np.expm1(-r)).mean(1), values.mean(1) - base
    mean = np.exp(-r).mean(1)
    return {
        "kl": kl.mean(), "kl_se": _se(kl), "gain": gains.mean(0), "gain_se": _se(gains), "mean_ratio": mean.mean(),
        "mean_ratio_se": _se(mean),
    }  # fmt: skip


def closed_form(score: Any, strength: float) -> dict[str, float]:
    """The tilt by score (G, n) at 1/beta on rows of pi0: KL, ESS and mean ratio, each row by the other half's constant.

    log pi - log pi0 = strength s - log Z(x). A row's Z comes from rows that it is not among, so that mean ratio and KL
    are too high by what the constants of so few rows are unsure of: by (1/ESS - 1) 2/n in the mean ratio.
    """
    t = strength * (score - score.mean(1, keepdims=True))
    half = np.arange(score.shape[1]) % 2 == 0
    r = np.where(half, t - _log_mean_exp(t[:, ~half]), t - _log_mean_exp(t[:, half]))
    found = by_weights(r, score[:, :, None])
    return {name: float(found[name]) for name in ("kl", "kl_se", "ess", "mean_ratio", "mean_ratio_se")}


def _log_mean_exp(x: Any) -> Any:
    most = x.max(1, keepdims=True)
    return most + np.log(np.exp(x - most).mean(1, keepdims=True))


def likeness(ratio: Any, score: Any) -> dict[str, float]:
    """Correlation of log-ratio and score inside prompts, and the slope d ratio / d score: a tilt has 1 and 1/beta."""
    a, b = (np.asarray(x, np.float64) - np.mean(x, axis=1, keepdims=True) for x in (ratio, score))
    cross, own = (a * b).sum(), (b * b).sum()
    scale = np.sqrt((a * a).sum() * own)
    return {"correlation": float(cross / scale) if scale else 0.0, "slope": float(cross / own) if own else 0.0}


def _se(x: Any) -> Any:
    return np.std(x, axis=0, ddof=1) / np.sqrt(len(x))
