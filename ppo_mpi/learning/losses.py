"""The terms of the losses, per sample, and what is measured beside them.

Axes: N samples. Everything is per sample, so that means over the job can be weighted by samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

ClipRange = float | Tensor
"""A number, or a tensor [] in a GPU's memory, where a recorded update reads it."""


def near(x: Tensor, center: float, clip_range: ClipRange) -> Tensor:
    """Return x within ``center`` +- ``clip_range``."""
    return x.clamp(center - clip_range, center + clip_range)  # type: ignore[arg-type]


def clipped_policy_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    clip_range: ClipRange,
) -> Tensor:
    """Return PPO's clipped surrogate objective, negated so that it is minimized.

        loss = -min(r * A, clip(r, 1 - c, 1 + c) * A),  r = exp(log_probs - old_log_probs)

    Args:
        log_probs: [N] float32, log pi(a|s) in nats under the current policy.
        old_log_probs: [N] float32, the same actions' log pi(a|s) when they were taken.
        advantages: [N] float32, a constant to the loss; dimensionless once normalized.
        clip_range: c >= 0, dimensionless; the paper uses 0.2, a schedule may end at 0.

    Returns:
        [N] float32.

    Raises:
        ValueError: clip_range is negative, or the three tensors differ in shape.

    Source:
        Schulman et al. 2017, arXiv:1707.06347, eq. 7.
    """
    # One in a GPU's memory cannot be looked at without waiting for it.
    if not isinstance(clip_range, Tensor) and clip_range < 0:
        raise ValueError(f"clip_range must not be negative, got {clip_range}")
    if not log_probs.shape == old_log_probs.shape == advantages.shape:
        raise ValueError(
            "log_probs, old_log_probs and advantages must have one shape, got "
            f"{tuple(log_probs.shape)}, {tuple(old_log_probs.shape)}, {tuple(advantages.shape)}"
        )
    ratio = torch.exp(log_probs - old_log_probs)
    clipped_ratio = near(ratio, 1.0, clip_range)
    return -torch.min(ratio * advantages, clipped_ratio * advantages)


def clipped_policy_slope(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip_range: ClipRange
) -> Tensor:
    """Return the derivative of each sample's clipped policy loss by its log_prob.

        -r * A where r * A <= clip(r, 1 - c, 1 + c) * A, else 0

    Args:
        log_probs: as in ``clipped_policy_loss``, like all others.
        old_log_probs: [N] float32.
        advantages: [N] float32.
        clip_range: c.

    Returns:
        [N] float32.
    """
    ratio = torch.exp(log_probs - old_log_probs)
    gain = ratio * advantages
    return -gain * (gain <= near(ratio, 1.0, clip_range) * advantages)


def policy_gradient_loss(log_probs: Tensor, advantages: Tensor) -> Tensor:
    """Return -A log pi(a|s), whose gradient is the policy gradient, negated.

    Its value says nothing by itself; by log_probs its derivative is -A.

    Args:
        log_probs: [N] float32, log pi(a|s) in nats.
        advantages: [N] float32, a constant to the loss.

    Returns:
        [N] float32.

    Raises:
        ValueError: the tensors differ in shape.

    Source:
        Mnih et al. 2016, arXiv:1602.01783, algorithm S3.
    """
    if log_probs.shape != advantages.shape:
        raise ValueError(
            "log_probs and advantages must have one shape, got "
            f"{tuple(log_probs.shape)}, {tuple(advantages.shape)}"
        )
    return -advantages * log_probs


def value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    clip_range: ClipRange | None,
    kind: str = "half_squared",
    huber_delta: float = 10.0,
) -> Tensor:
    """Return the error of the values, clipped around the old ones if asked for.

        loss = max(h(V - R), h(V_old + clip(V - V_old, -c, c) - R))
        half_squared  h(e) = e^2 / 2
        squared       h(e) = e^2
        huber         h(e) = e^2 / 2 where |e| <= d, else d * (|e| - d / 2)

    Args:
        values: [N] float32, current predictions.
        old_values: [N] float32, the predictions when the data was collected.
        returns: [N] float32, targets.
        clip_range: c in the unit of the values; None means no clipping.
        kind: ``"half_squared"``, ``"squared"`` or ``"huber"``.
        huber_delta: d > 0, in the unit of the values.

    Returns:
        [N] float32.

    Raises:
        ValueError: the kind is unknown.

    Source:
        the clip: the code of OpenAI baselines' ppo2 (not in the PPO paper); huber: Huber 1964,
        "Robust estimation of a location parameter".
    """
    if kind not in ("half_squared", "squared", "huber"):
        raise ValueError(f"unknown value loss {kind!r}; known: half_squared, squared, huber")
    error = (values - returns) ** 2
    if clip_range is not None:
        clipped = old_values + near(values - old_values, 0.0, clip_range)
        error = torch.max(error, (clipped - returns) ** 2)  # of all kinds the larger one, too
    if kind == "squared":
        return error
    if kind == "huber":
        # Not the root's slope at 0, which is infinite: there the square counts.
        far = error.clamp(min=huber_delta**2).sqrt()
        linear = huber_delta * (far - 0.5 * huber_delta)
        return torch.where(error <= huber_delta**2, 0.5 * error, linear)
    return 0.5 * error


def value_slope(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    clip_range: ClipRange | None,
    kind: str = "half_squared",
    huber_delta: float = 10.0,
) -> Tensor:
    """Return the derivative of each sample's value loss by its value.

        h'(V - R), but 0 where the clip holds and its error is the larger one
        h'(e) = e, 2 * e (squared), or e within +- d (huber)

    Args:
        values: as in ``value_loss``, like all others.
        old_values: [N] float32.
        returns: [N] float32.
        clip_range: c, or None.
        kind: as above.
        huber_delta: d.

    Returns:
        [N] float32.
    """
    error = values - returns
    slope = error
    if kind == "squared":
        slope = 2 * error
    elif kind == "huber":
        slope = near(error, 0.0, huber_delta)
    if clip_range is None:
        return slope
    change = values - old_values
    clipped = old_values + near(change, 0.0, clip_range) - returns
    return slope * ((change.abs() <= clip_range) | (error**2 >= clipped**2))


def joint_loss(
    values: Tensor,
    aux_values: Tensor | None,
    targets: Tensor,
    divergence: Tensor,
    clone_coef: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what an auxiliary phase minimizes, and its two errors of values.

        loss = h(V_aux - R) + h(V - R) + beta * KL(old policy || policy),  h(e) = e^2 / 2

    Of one network for both, the values are those of the auxiliary head, and count once.

    Args:
        values: [N] float32, of the values' network.
        aux_values: [N] float32, of the value head on the policy's torso; None if there is none.
        targets: [N] float32, R, as they were when the data was collected.
        divergence: [N] float32, KL, nats.
        clone_coef: beta.

    Returns:
        [N] float32 each: the loss, the auxiliary head's error, the values' error.

    Source:
        Cobbe et al. 2020, arXiv:2009.04416, section 2: L_joint = L_aux + beta_clone KL, L_aux, and
        L_value, which is trained beside them; the value weighs 1 as in the published code.
    """
    error = 0.5 * (values - targets) ** 2
    if aux_values is None:
        return error + clone_coef * divergence, error, error
    aux_error = 0.5 * (aux_values - targets) ** 2
    return aux_error + error + clone_coef * divergence, aux_error, error


def approximate_kl(log_probs: Tensor, old_log_probs: Tensor) -> Tensor:
    """Return a per-sample estimate of KL(old || current), in nats; its mean is unbiased.

        (r - 1) - log r,  r = exp(log_probs - old_log_probs); never negative

    Args:
        log_probs: [N] float32, nats.
        old_log_probs: [N] float32, nats.

    Returns:
        [N] float32.

    Source:
        Schulman 2020, "Approximating KL divergence" (joschu.net/blog/kl-approx.html), k3.
    """
    log_ratio = log_probs - old_log_probs
    return torch.expm1(log_ratio) - log_ratio


def clipped_fraction(log_probs: Tensor, old_log_probs: Tensor, clip_range: ClipRange) -> Tensor:
    """Return 1 where the probability ratio lies outside the clip, else 0; [N] float32."""
    ratio = torch.exp(log_probs - old_log_probs)
    return ((ratio - 1).abs() > clip_range).float()


def explained_variance(
    count: float, residuals: tuple[float, float], returns: tuple[float, float]
) -> float:
    """Return 1 - Var(returns - values) / Var(returns) from whole-job sums.

    Args:
        count: number of samples.
        residuals: sum and sum of squares of (returns - values).
        returns: sum and sum of squares of the returns.

    Returns:
        at most 1; 0 if the values are no better than a constant, NaN if the returns do not vary.
    """
    variance = returns[1] / count - (returns[0] / count) ** 2
    residual = residuals[1] / count - (residuals[0] / count) ** 2
    return 1 - residual / variance if variance > 1e-12 else float("nan")
