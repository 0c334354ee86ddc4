"""The convex problem of a latent SVM: the weights of all looks of a class, where every latent value is fixed.

As the released code does (``train/optimize.m``), by L-BFGS with bounds, so that costs of displacements stay convex, and
with the norm of the largest look as the regulariser, not the sum: looks stay comparable.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SHARPNESS = 1000  # of the soft maximum over looks
_ROUNDED = 0.5  # width of the hinge's quadratic piece; the released solver takes subgradients of the plain one


@dataclass(frozen=True)
class Block:
    """One look: its examples and where its weights start.

    Attributes:
        positives: ``(P, width)``.
        negatives: ``(N, width)``.
        start: ``(width,)`` float64.
        penalty: ``(width,)``, how much more each weight counts in the norm.
        least: ``(width,)``, lower bounds of the weights.
    """

    positives: NDArray
    negatives: NDArray
    start: NDArray[np.float64]
    penalty: NDArray[np.float64]
    least: NDArray[np.float64]


def hinge(margins: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the loss of each of ``margins`` and its derivative: ``1 - m``, rounded off below 1, and 0 from 1 on."""
    short = 1 - np.asarray(margins, np.float64)
    linear = short > _ROUNDED
    inside = np.clip(short, 0, _ROUNDED)
    loss = np.where(linear, short - _ROUNDED / 2, inside**2 / (2 * _ROUNDED))
    return loss, -inside / _ROUNDED


def soft_maximum(norms: Sequence[float]) -> tuple[float, NDArray[np.float64]]:
    """Return the soft maximum of the ``norms`` of looks and its derivative by each; of equal ones, each of them."""
    values = np.array(norms)
    shares = np.exp(_SHARPNESS * (values - values.max()))
    return float(values.max() + np.log(shares.mean()) / _SHARPNESS), shares / shares.sum()


def solve(
    blocks: Sequence[Block],
    C: float,
    positive_weight: float,
    tolerance: float,
    max_iterations: int,
) -> tuple[list[NDArray[np.float64]], float, bool]:
    """Return the weights of each block, the objective, and whether the solver converged.

    The objective is half the soft maximum of the blocks' squared norms and ``C`` times the sum of `hinge` over all
    examples, those of positives ``positive_weight`` times.
    """
    from scipy.optimize import Bounds, minimize
    from threadpoolctl import threadpool_limits

    samples = [np.concatenate([each.positives, each.negatives]).astype(np.float32) for each in blocks]
    signs = [np.repeat([1.0, -1.0], [len(each.positives), len(each.negatives)]) for each in blocks]
    costs = [C * np.where(sign > 0, positive_weight, 1.0) for sign in signs]
    ends = np.cumsum([len(each.start) for each in blocks])[:-1]

    def objective(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = np.split(values, ends)
        norms = [float(each.penalty @ (own * own)) / 2 for each, own in zip(blocks, weights, strict=True)]
        total, shares = soft_maximum(norms)
        gradients = [share * each.penalty * own for share, each, own in zip(shares, blocks, weights, strict=True)]
        for number, (vectors, sign, cost) in enumerate(zip(samples, signs, costs, strict=True)):
            loss, slope = hinge(sign * (vectors @ weights[number].astype(np.float32)))
            total += float(cost @ loss)
            gradients[number] += (cost * sign * slope).astype(np.float32) @ vectors
        return total, np.concatenate(gradients)

    bounds = Bounds(np.concatenate([each.least for each in blocks]), np.inf)
    options = {"maxiter": max_iterations, "ftol": tolerance, "gtol": 0}
    with threadpool_limits(1):  # the number of threads can change last bits
        found = minimize(
            objective, np.concatenate([each.start for each in blocks]), method="L-BFGS-B", jac=True, bounds=bounds,
            options=options,
        )  # fmt: skip
    return np.split(found.x, ends), float(found.fun), found.nit < max_iterations
