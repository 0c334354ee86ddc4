"""The convex problem: scikit-learn's SVM, derivatives by differences, bounds, and looks that share a regulariser."""

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from pipeline.systems.dpm.solver import Block, hinge, soft_maximum, solve


def block(positives: np.ndarray, negatives: np.ndarray, **changed: np.ndarray) -> Block:
    width = positives.shape[1]
    given = {"start": np.zeros(width), "penalty": np.ones(width), "least": np.full(width, -np.inf)}
    return Block(positives, negatives, **(given | changed))


def clouds(seed: int = 0, shift: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, (60, 8)).astype(np.float32), rng.normal(-shift, 1, (90, 8)).astype(np.float32)


def test_the_loss_is_the_hinge_but_for_its_corner() -> None:
    margins = np.array([-3, 0, 0.5, 0.75, 1, 2])
    loss, slope = hinge(margins)
    assert loss == pytest.approx([3.75, 0.75, 0.25, 0.0625, 0, 0])  # 1 - m less a quarter, then rounded off
    assert slope == pytest.approx([-1, -1, -1, -0.5, 0, 0])
    steps = (hinge(margins + 1e-6)[0] - hinge(margins - 1e-6)[0]) / 2e-6
    assert steps == pytest.approx(slope, abs=1e-5)


def test_one_look_is_about_an_svm() -> None:
    """The rounded corner moves the solution a little; scores of both agree, and the objective is as low as theirs."""
    positives, negatives = clouds()
    (weights,), objective, converged = solve([block(positives, negatives)], 0.1, 2, 1e-10, 1000)
    svm = LinearSVC(loss="hinge", C=0.1, class_weight={1: 2}, fit_intercept=False, tol=1e-6, max_iter=100000)
    vectors = np.concatenate([positives, negatives])
    svm.fit(vectors, np.arange(150) < 60)
    assert converged
    assert np.corrcoef(vectors @ weights, vectors @ svm.coef_[0])[0, 1] > 0.998
    other = svm.coef_[0]
    losses = hinge(positives @ other)[0].sum() * 2 + hinge(-(negatives @ other))[0].sum()
    assert objective <= other @ other / 2 + 0.1 * losses + 1e-9


def test_no_small_change_of_the_weights_is_better() -> None:
    blocks = [block(*clouds(1), penalty=np.arange(1, 9.0)), block(*clouds(2, 0.3), least=np.full(8, 0.3))]
    weights, objective, _ = solve(blocks, 0.05, 1, 1e-12, 2000)

    def value(candidates: list[np.ndarray]) -> float:
        norms = [float(each.penalty @ own**2) / 2 for each, own in zip(blocks, candidates, strict=True)]
        losses = [
            hinge(each.positives @ own)[0].sum() + hinge(-(each.negatives @ own))[0].sum()
            for each, own in zip(blocks, candidates, strict=True)
        ]
        return soft_maximum(norms)[0] + 0.05 * sum(losses)

    assert objective == pytest.approx(value(weights), abs=1e-5)
    assert (weights[1] >= 0.3).all()
    assert (weights[1] == 0.3).any()
    rng = np.random.default_rng(0)
    for _ in range(200):
        moved = [own + rng.normal(0, 0.01, 8) for own in weights]
        moved[1] = np.maximum(moved[1], 0.3)
        assert value(moved) > objective - 1e-5


def test_the_soft_maximum_is_that_of_the_larger_look() -> None:
    total, shares = soft_maximum([0.3, 0.5])
    assert total == pytest.approx(0.5 - np.log(2) / 1000, abs=1e-6)
    assert shares == pytest.approx([0, 1])
    assert soft_maximum([0.4, 0.4]) == (pytest.approx(0.4), pytest.approx([0.5, 0.5]))


def test_solutions_repeat_to_the_byte() -> None:
    first, second = (solve([block(*clouds(3))], 0.1, 1, 1e-4, 300)[0][0] for _ in range(2))
    assert first.tobytes() == second.tobytes()
