"""Hard negative mining: rule by rule with a made-up solver, and against liblinear and scipy on all data at once."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn import svm as sklearn_svm

from pipeline.core.errors import InputError
from pipeline.core.sections import Svm
from pipeline.linear.svm import train_svms
from pipeline.linear.training_set import TrainingSet

OBJECT, FAR = (0.0, 0.0, 10.0, 10.0), (500.0, 500.0, 510.0, 510.0)


def settings(**changed: object) -> Svm:
    values = {
        "layer": "fc7",
        "C": 0.001,
        "positive_weight": 2,
        "bias_scale": 10,
        "feature_norm": 20,
        "negative_iou": 0.3,
        "hard_above": -1.0001,
        "evict_below": -1.2,
        "retrain_after": 2000,
        "max_negatives": 20000,
        "passes": 1,
        "tolerance": 1e-6,
        "max_iterations": 1_000_000,
    }
    return Svm.model_validate({**values, **changed})


def train(regions: TrainingSet, **changed: object):
    return train_svms(regions, settings(**changed), seed=3, workers=1)


@dataclass
class Recorder:
    """Stands in for liblinear: its score is the first feature. Notes each call: first features of both sets."""

    calls: list[tuple[list[float], list[float]]] = field(default_factory=list)
    options: list[dict] = field(default_factory=list)

    def __call__(self, **options: object) -> "Recorder":
        self.options.append(options)
        return self

    def fit(self, samples: NDArray, labels: NDArray) -> None:
        first = np.round(samples[:, 0], 4)
        self.calls.append((first[labels == 1].tolist(), first[labels == 0].tolist()))
        self.coef_, self.intercept_, self.n_iter_ = np.eye(1, samples.shape[1]), np.zeros(1), 1

    def decision_function(self, samples: NDArray) -> NDArray:
        return samples[:, 0]


@pytest.fixture
def solver(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(sklearn_svm, "LinearSVC", recorder)
    return recorder


def image(objects: list[tuple], scores: list[float], boxes: list[tuple] | None = None) -> tuple:
    """Return an image whose regions have these scores; the regions that are no objects lie far from all objects.

    Each feature has norm 20, so that scaling to norm 20 leaves it as it is.
    """
    rest = [FAR] * (len(scores) - len(objects)) if boxes is None else boxes
    first = np.array(scores, np.float64)
    features = np.stack([first, np.sqrt(400 - first**2)], axis=1).reshape(-1, 2)
    return objects, [*(item[1] for item in objects), *rest], features


def test_the_first_image_gives_all_its_negatives_and_later_ones_their_hard_ones(
    training_set: Callable, solver: Recorder
) -> None:
    regions = training_set(
        ("cat",),
        image([(1, OBJECT)], [3, -5, -1, 0.5]),
        image([(1, OBJECT)], [2, -1.0002, -1, 0.25]),
        image([], [-4, 1.5]),
    )
    _, report = train(regions)
    assert solver.calls == [([3, 2], [-5, -1, 0.5]), ([3, 2], [-1, 0.5, -1, 0.25, 1.5])]
    assert (report.positives, report.negatives, report.trainings) == ([2], [5], [2])


def test_a_class_with_nothing_but_a_crowd_has_no_svm(training_set: Callable, solver: Recorder) -> None:
    """Neither the crowd nor the region in it is a negative of the other class; a difficult object is one if it may."""
    crowd, inside = (100.0, 100.0, 200.0, 200.0), (120.0, 120.0, 140.0, 140.0)
    objects = [(2, crowd, "crowd"), (1, OBJECT), (1, FAR, "difficult")]
    given = image(objects, [5, 3, 2, 4, -1], [inside, (300.0, 300.0, 310.0, 310.0)])
    model, report = train(training_set(("cat", "dog"), given))
    assert solver.calls == [([3, 2], [-1])]
    assert (model.known.tolist(), report.positives) == ([1], [2, 0])
    train(training_set(("cat", "dog"), image(objects, [5, 3, 2, 4, -1], [inside, FAR]), difficult=False))
    assert solver.calls[1:] == [([3], [-1])], "a region on the difficult object is background, its own box is no region"


def test_an_image_without_negatives_is_no_first_image(training_set: Callable, solver: Recorder) -> None:
    regions = training_set(("cat",), image([(1, OBJECT)], [3]), image([], []), image([], [-7, -8]), image([], [-9]))
    train(regions)
    assert solver.calls == [([3], [-7, -8])]


def test_easy_negatives_are_let_go_after_a_training(training_set: Callable, solver: Recorder) -> None:
    regions = training_set(("cat",), image([(1, OBJECT)], [3, -1.19, -1.21, -9]), image([], [0]))
    train(regions)
    assert solver.calls == [([3], [-1.19, -1.21, -9]), ([3], [-1.19, 0])]


def test_a_class_whose_objects_score_no_better_than_the_rest_is_named(training_set: Callable, solver: Recorder) -> None:
    regions = training_set(("cat", "dog"), image([(1, OBJECT), (2, FAR)], [0.5, 0.4, 0.45], [(300, 300, 310, 310)]))
    _, report = train(regions)
    assert report.lost == [False, True]
    *_, warning = report.table(regions.classes).splitlines()
    assert warning.startswith("warning: no object of dog scores above its hardest negative")


def test_features_that_are_no_numbers_are_named(training_set: Callable) -> None:
    """Wherever the NaN lies: in the object, in a region of a later image."""
    for where in ((0, 0), (1, 1)):
        images = [image([(1, OBJECT)], [3, -1]), image([], [-2, -3])]
        images[where[0]][2][where[1]] = np.nan
        with pytest.raises(InputError, match=rf"features of layer fc7 of image {where[0] + 1} are not finite"):
            train(training_set(("cat",), *images))


def test_a_training_follows_more_than_so_many_new_negatives(training_set: Callable, solver: Recorder) -> None:
    images = [image([(1, OBJECT)], [3, -5]), *[image([], [0.0])] * 7]
    train(training_set(("cat",), *images), retrain_after=2)
    assert [len(negatives) for _, negatives in solver.calls] == [1, 3, 6, 7]
    solver.calls.clear()
    train(training_set(("cat",), *images[:7]), retrain_after=2)
    assert [len(negatives) for _, negatives in solver.calls] == [1, 3, 6], "nothing new: no last training"


def test_positives_are_the_objects_and_what_overlaps_them_is_on_no_side(
    training_set: Callable, solver: Recorder
) -> None:
    # Shares of OBJECT, in a box that holds it: .3 exactly as 3 x 10 of 10 x 10, and less.
    regions = training_set(
        ("cat", "dog"),
        image(
            [(1, OBJECT), (2, (100, 0, 110, 10)), (1, (200, 0, 210, 10), True)],
            [1, 2, 3, 4, 5, 6, 7],
            [(0, 0, 10, 5), (0, 0, 10, 3), (0, 0, 10, 2.9), (100, 0, 110, 9)],
        ),
    )
    train(regions)
    assert solver.calls == [([1, 3], [2, 6, 7]), ([2], [1, 3, 4, 5, 6])]


def test_a_class_without_objects_or_without_negatives_is_never_detected(
    training_set: Callable, solver: Recorder
) -> None:
    regions = training_set(("cat", "dog", "cow"), image([(1, OBJECT)], [3, 1]), image([(3, OBJECT)], [2, 1]))
    model, report = train(regions)
    assert np.isneginf(model.bias).tolist() == [False, True, False]
    assert np.isneginf(model(np.ones((1, 2)))[0]).tolist() == [False, True, False]
    assert (report.positives, report.trainings[1], report.negatives[1]) == ([1, 0, 1], 0, 0)
    lonely = training_set(("cat",), image([(1, OBJECT)], [3]))
    model, report = train(lonely)
    assert np.isneginf(model.bias).all()
    assert (report.positives, report.trainings) == ([1], [0])


def test_without_any_object_no_class_is_ever_detected(training_set: Callable, solver: Recorder) -> None:
    model, report = train(training_set(("cat", "dog"), image([], [1, 2]), image([], [3])))
    assert solver.calls == []
    assert np.isneginf(model(np.ones((3, 2)))).all()
    assert (report.positives, report.negatives, report.trainings) == ([0, 0], [0, 0], [0, 0])


def test_the_hardest_negatives_are_kept_when_there_are_too_many(training_set: Callable, solver: Recorder) -> None:
    regions = training_set(("cat",), image([(1, OBJECT)], [3, 0, -1, 2, 1, 1]), image([], [0.5]))
    _, report = train(regions, max_negatives=3)
    assert solver.calls[1] == ([3], [2, 1, 1, 0.5])
    assert report.negatives == [4], "those of the last training, all of which it saw"


def test_a_second_pass_adds_nothing_twice_but_lets_the_lost_come_back(training_set: Callable, solver: Recorder) -> None:
    """The official code removes the keys of evicted negatives, so that they may turn hard again."""
    regions = training_set(("cat",), image([(1, OBJECT)], [3, 0, -1.1]), image([], [1, -1.1]), image([], [0.5]))
    train(regions, passes=3)
    assert solver.calls == [([3], [0, -1.1]), ([3], [0, -1.1, 1, 0.5])]
    solver.calls.clear()
    train(regions, passes=2, max_negatives=1)
    assert solver.calls == [([3], [0, -1.1]), ([3], [0, 1, 0.5])]
    solver.calls.clear()
    train(regions, passes=2, max_negatives=1, retrain_after=1)
    assert solver.calls == [([3], [0, -1.1]), ([3], [0, 1, 0.5]), ([3], [1, 0, 0.5])]


def test_the_solver_is_set_as_the_authors_port_sets_it(training_set: Callable, solver: Recorder) -> None:
    train(training_set(("cat",), image([(1, OBJECT)], [3, 1])), C=0.5)
    assert solver.options[0] == {
        "loss": "hinge",
        "C": 0.5,
        "intercept_scaling": 10,
        "class_weight": {1: 2},
        "tol": 1e-6,
        "max_iter": 1_000_000,
        "random_state": 3,
    }


def test_features_are_scaled_to_the_mean_norm(training_set: Callable, solver: Recorder) -> None:
    objects, boxes, features = image([(1, OBJECT)], [3, -4, 1])
    features *= [[1], [2], [6]]
    model, _ = train(training_set(("cat",), (objects, boxes, features)), feature_norm=30)
    assert model.scale == pytest.approx(30 / (20 * (1 + 2 + 6) / 3))
    assert solver.calls[0] == (pytest.approx([3 / 2]), pytest.approx([-4, 3]))


def clouds(images: int, seed: int = 0) -> list[tuple]:
    """Return images of two classes whose features overlap a little, with many easy negatives."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(images):
        label = number % 2 + 1
        objects = [(label, OBJECT)] if number % 5 else []
        centres = np.zeros((len(objects) + 30, 6))
        centres[: len(objects), label - 1] = 3
        features = rng.normal(size=centres.shape) + centres
        features[:, 5] += 4
        made.append((objects, [*(item[1] for item in objects), *[FAR] * 30], features))
    return made


def all_at_once(images: list[tuple], label: int, scale: float, **options: object) -> tuple[NDArray, float]:
    """Return weights and bias of one SVM on every object and every negative of the class."""
    positives, negatives = [], []
    for objects, _, features in images:
        own = len(objects) == 1 and objects[0][0] == label
        positives += features[: int(own)].tolist()
        negatives += features[int(own) :].tolist()
    solver = sklearn_svm.LinearSVC(
        loss="hinge",
        intercept_scaling=10,
        class_weight={1: 2},
        tol=1e-8,
        max_iter=10_000_000,
        random_state=0,
        **options,
    )
    samples = np.array(positives + negatives, np.float32).astype(np.float64) * scale
    solver.fit(samples, np.arange(len(samples)) < len(positives))
    return solver.coef_[0], solver.intercept_[0]


def test_mining_in_a_small_cache_ends_where_all_data_at_once_would(training_set: Callable) -> None:
    images = clouds(40)
    regions = training_set(("cat", "dog"), *images, splits=(25, 15))
    model, report = train(regions, C=0.02, retrain_after=20, passes=4)
    norms = np.linalg.norm(np.concatenate([f for *_, f in images]), axis=1)
    assert model.scale == pytest.approx(20 / norms.mean(), rel=1e-5)
    assert max(report.negatives) < 400
    once, _ = train(regions, C=0.02, retrain_after=20)
    for label in (1, 2):
        weights, bias = all_at_once(images, label, model.scale, C=0.02)
        np.testing.assert_allclose(model.weights[label - 1], weights, atol=2e-3)
        assert model.bias[label - 1] == pytest.approx(bias, abs=5e-3)
        # A single pass, as the official code makes, comes near.
        cosine = once.weights[label - 1] @ weights / np.linalg.norm(once.weights[label - 1]) / np.linalg.norm(weights)
        assert cosine > 0.98


def test_the_bias_is_regularised_as_a_feature_of_ten(training_set: Callable) -> None:
    """Against the primal problem in full, solved by scipy: |w|^2 / 2 + (b / 10)^2 / 2 + C sum of weighted hinges."""
    images = clouds(1, seed=5)
    rng = np.random.default_rng(1)
    positives = rng.normal(size=(6, 6)) + np.array([2, 0, 0, 0, 0, 4])
    objects = [(1, (20 * i, 0, 20 * i + 10, 10)) for i in range(6)]
    features = np.concatenate([positives, images[0][2]]).astype(np.float32)
    regions = training_set(("cat",), (objects, [*(box for _, box in objects), *[FAR] * 30], features))
    model, _ = train(regions, C=0.01)
    samples = features.astype(np.float64) * model.scale
    signs = np.where(np.arange(36) < 6, 1, -1)
    cost = np.where(signs > 0, 2, 1) * 0.01

    def objective(values: NDArray) -> float:
        return (values[:6] ** 2).sum() / 2 + (values[6] / 10) ** 2 / 2 + cost @ values[7:]

    def gradient(values: NDArray) -> NDArray:
        return np.concatenate([values[:6], [values[6] / 100], cost])

    best = minimize(
        objective,
        np.concatenate([np.zeros(7), np.ones(36)]),
        jac=gradient,
        method="SLSQP",
        bounds=[(None, None)] * 7 + [(0, None)] * 36,
        constraints={
            "type": "ineq",
            "fun": lambda v: signs * (samples @ v[:6] + v[6]) - 1 + v[7:],
            "jac": lambda v: np.hstack([signs[:, None] * samples, signs[:, None], np.eye(36)]),
        },
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert best.success
    np.testing.assert_allclose(model.weights[0], best.x[:6], atol=1e-4)
    assert model.bias[0] == pytest.approx(best.x[6], abs=1e-3)


@pytest.mark.slow
def test_workers_change_no_byte(training_set: Callable, tmp_path: Path) -> None:
    """Trainings long enough to overlap, and a tolerance loose enough for the random order of samples to show."""
    rng = np.random.default_rng(0)
    classes = ("ant", "bee", "cat", "dog", "eel", "fox")
    images = []
    for number in range(60):
        label = number % len(classes)
        features = rng.normal(size=(40, 400)) + 0.2 * np.eye(400)[label]
        images.append(([(label + 1, OBJECT)], [OBJECT] + [FAR] * 39, features))
    regions = training_set(classes, *images)
    written = set()
    for workers in (1, 2, 2):
        model, _ = train_svms(regions, settings(tolerance=0.1, C=0.01, retrain_after=600), seed=3, workers=workers)
        model.save(tmp_path / "svm")
        written.add((tmp_path / "svm").read_bytes())
    assert len(written) == 1


@pytest.mark.slow
def test_trainings_that_did_not_converge_are_counted(training_set: Callable) -> None:
    regions = training_set(("cat", "dog"), *clouds(20))
    for workers in (1, 2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _, report = train_svms(
                regions, settings(C=10, max_iterations=1, retrain_after=10_000), seed=3, workers=workers
            )
        assert report.unconverged == sum(report.trainings) == 4
    assert report.as_json() == {
        "positives": sum(report.positives),
        "negatives": sum(report.negatives),
        "trainings": 4,
        "unconverged_trainings": 4,
    }
    assert report.table(("cat", "dog")).splitlines()[1].startswith(f"dog: {report.positives[1]} objects, ")
