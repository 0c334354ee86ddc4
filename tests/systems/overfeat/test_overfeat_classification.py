"""Classes of whole images against a loop over windows, and ILSVRC's guesses from detections."""

import numpy as np
import pytest
import torch

from pipeline.evaluation.detections import Detections
from pipeline.imaging import as_images, stretch
from pipeline.systems.overfeat.classification import image_scores, one_a_class
from pipeline.systems.overfeat.network import Overfeat, OverfeatShape

CPU = torch.device("cpu")


@pytest.fixture
def network() -> Overfeat:
    torch.manual_seed(1)
    network = Overfeat(OverfeatShape("small", 3, (96, 128), 2, 3, (8, 8), (8,), per_class=False)).eval()
    torch.nn.init.normal_(network.classifier.layers[-1].weight, std=100)  # type: ignore[arg-type]
    return network


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_image_has_the_mean_over_scales_of_its_best_windows(network: Overfeat, mirrored: bool) -> None:
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (90, height, 3), dtype=np.uint8) for height in (70, 120)]
    expected = np.zeros((2, 3))
    views = 2 if mirrored else 1
    for number, image in enumerate(images):
        for view in (image, image[:, ::-1])[:views]:
            for side in (96, 128):
                with torch.inference_mode():
                    (logits,) = network(as_images([stretch(np.ascontiguousarray(view), side)]))[0].numpy()
                powers = np.exp(logits.astype(np.float64))
                best = [max(row[label] / row.sum() for row in powers) for label in (1, 2, 3)]
                expected[number] += np.array(best) / (2 * views)
    assert expected.std() > 0.01
    assert image_scores(network, images, CPU, mirrored=mirrored) == pytest.approx(expected, abs=1e-6)


def test_no_images(network: Overfeat) -> None:
    assert image_scores(network, [], CPU, mirrored=True).shape == (0, 3)


def test_guesses_are_the_best_box_of_each_class_in_each_image() -> None:
    boxes = np.arange(24, dtype=np.float32).reshape(6, 4)
    images, labels = np.array([1, 1, 2, 1, 2, 1]), np.array([1, 1, 1, 2, 1, 2])
    scores = np.array([0.25, 0.5, 3.0, 4.0, 1.0, 4.0], np.float32)
    guesses = one_a_class(Detections(images, labels, boxes, scores))
    assert guesses.scores.tolist() == [4.0, 3.0, 0.5]
    assert guesses.boxes[:, 0].tolist() == [12, 8, 4]
    assert len(one_a_class(Detections.join([]))) == 0
