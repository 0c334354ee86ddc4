"""The choice of C: by the mean AP on val, which the images of val alone decide."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.core.sections import Svm
from pipeline.linear.choice import with_chosen_c
from pipeline.linear.svm import train_svms
from pipeline.linear.training_set import TrainingSet

BOX = (0.0, 0.0, 10.0, 10.0)
APART = [(100.0 + 50 * i, 0.0, 110.0 + 50 * i, 10.0) for i in range(12)]
AUTO = Svm(C="auto", C_values=(1e-5, 0.1), tolerance=1e-4, max_iterations=100_000)


def scenes(count: int, seed: int) -> list[tuple]:
    """Return images of one object, with a proposal on it; its sign stands in a small feature behind a large one."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        features = np.zeros((2 + len(APART), 8))
        features[:, 0] = 10
        features[:, 1:7] = rng.normal(scale=3, size=(len(features), 6))
        features[:, 7] = np.where(np.arange(len(features)) < 2, 1, -1)
        features[1] = features[0]
        made.append(([(1, BOX)], [BOX, BOX, *APART], features))
    return made


@pytest.fixture
def regions(training_set: Callable) -> TrainingSet:
    return training_set(("cat",), *scenes(20, 0), *scenes(10, 1), splits=(20, 10))


def ranked_map(regions: TrainingSet, C: float) -> float:
    """Return the area AP by hand: each image of val has one right proposal, its first one."""
    model, _ = train_svms(regions.part([0]), AUTO.model_copy(update={"C": C}), seed=1, workers=1)
    val = regions.part([1])
    scores = np.concatenate([model(features)[1:, 0] for _, features in val.images("fc7")])
    right = np.concatenate([np.arange(1 + len(APART)) == 0 for _ in val.indices[0].images])
    hits = right[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].mean())


def test_the_greatest_map_on_val_decides(regions: TrainingSet) -> None:
    settings, figures = with_chosen_c(regions, ("train", "val"), AUTO, "rcnn.svm.C", seed=1, workers=1)
    weak, strong = (ranked_map(regions, C) for C in AUTO.C_values)
    assert weak < strong - 0.1
    expected = {"C": 0.1, "val_map_voc_at_1e-05": weak, "val_map_voc_at_0.1": strong}
    assert figures == pytest.approx(expected, abs=1e-6)
    assert settings == AUTO.model_copy(update={"C": 0.1})


def test_a_number_stays(regions: TrainingSet) -> None:
    assert with_chosen_c(regions, ("train", "val"), Svm(C=0.5), "k", seed=1, workers=1) == (Svm(C=0.5), {})


def test_without_val_there_is_no_choice(regions: TrainingSet, training_set: Callable) -> None:
    for splits in (("train",), ("val",)):
        with pytest.raises(InputError, match=r"^rcnn\.svm\.C is auto, which needs train and val in data\.fit_splits"):
            with_chosen_c(regions.part([0]), splits, AUTO, "rcnn.svm.C", seed=1, workers=1)
    bare = training_set(("cat",), *scenes(2, 0), ([], [BOX], np.ones((1, 8))), splits=(2, 1))
    with pytest.raises(InputError, match="but val has no object to judge by"):
        with_chosen_c(bare, ("train", "val"), AUTO, "rcnn.svm.C", seed=1, workers=1)
