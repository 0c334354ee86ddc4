"""The detector of networks on squares."""

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.sections import SquareDetection
from pipeline.data.index import ImageRecord, Index
from pipeline.detector import Candidates, Description, detect_split
from pipeline.evaluation.detections import Detections
from pipeline.systems.square_detector import SquareDetector

CPU = torch.device("cpu")
SETTINGS = SquareDetection(batch=3, min_score=0.1, max_per_class=10, nms=0.5, max_per_image=20)


class Brightness(torch.nn.Module):
    """Says where the bright pixels are: the box around them, score of class 1 or 2 by their colour."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert images.dtype == torch.uint8
        boxes, scores = [], []
        for image in images:
            rows, columns = torch.nonzero(image.amax(0) > 200, as_tuple=True)
            boxes.append([[columns.min() - 1.0, rows.min(), columns.max() + 1.0, rows.max() + 1.0]])
            red = float(image[0].float().mean() > image[2].float().mean())
            scores.append([[0.9 * red, 0.8 * (1 - red)]])
        return torch.tensor(boxes), torch.tensor(scores)


def detector(side: int = 240, decode=lambda outputs: outputs, **changed) -> SquareDetector:
    description = Description.of("square", ("red", "blue"), detect=SETTINGS.model_copy(update=changed))
    return SquareDetector(description, Brightness(), decode, side, CPU)


def detect(detector: SquareDetector, records, root) -> Detections:
    return detect_split(detector, Index(("red", "blue"), tuple(records)), root, workers=2)[0]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    records, truth = [], []
    for number in range(7):
        width, height = 60 + 20 * number, 200 - 20 * number
        image = np.zeros((height, width, 3), np.uint8)
        x1, y1, x2, y2 = width // 4 * (number % 2), height // 4, width // 4 * 3, height // 2
        image[y1:y2, x1:x2, 0 if number % 3 else 2] = 255
        Image.fromarray(image).save(root / f"{number}.png")
        records.append(ImageRecord(10 + number, f"{number}.png", width, height, ""))
        truth.append((x1, y1, x2, y2))
    return root, records, np.array(truth, np.float32)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_boxes_come_back_to_their_image_whatever_the_batch(pictures, batch) -> None:
    root, records, truth = pictures
    found = detect(detector(batch=batch), records, root)
    assert found.image_ids.tolist() == [record.id for record in records]
    assert found.labels.tolist() == [2, 1, 1, 2, 1, 1, 2]
    assert np.allclose(found.scores, np.where(found.labels == 1, 0.9, 0.8))
    assert np.abs(found.boxes - truth).max() <= 1
    # The network says one pixel too much on the left; outside of the image it is cut.
    assert found.boxes.min() == 0


def test_pictures_go_through_the_network_in_the_batches_of_the_settings(pictures) -> None:
    root, records, truth = pictures
    network, sizes = detector(batch=3), []
    network.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    found = network.detect([root / record.file for record in records])
    assert sizes == [3, 3, 1]
    assert np.abs(np.concatenate([each.boxes for each in found]) - truth).max() <= 1


def slow_select(boxes, scores, settings):
    """Greedy suppression in plain loops."""
    found = []
    for column in range(scores.shape[1]):
        rows = sorted(np.flatnonzero(scores[:, column] > settings.min_score), key=lambda r: -scores[r, column])
        kept = []
        for row in rows[: settings.max_per_class]:
            x1, y1, x2, y2 = boxes[row]
            fine = True
            for other in kept:
                a1, b1, a2, b2 = boxes[other]
                shared = max(0, min(x2, a2) - max(x1, a1)) * max(0, min(y2, b2) - max(y1, b1))
                fine &= shared / ((x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - shared) <= settings.nms
            if fine:
                kept.append(row)
        found += [(scores[row, column], column + 1, tuple(boxes[row])) for row in kept]
    return sorted(found, key=lambda entry: -entry[0])[: settings.max_per_image]


@pytest.mark.parametrize(("per_class", "per_image"), [(400, 200), (5, 200), (400, 6)])
def test_selection_equals_plain_loops(per_class, per_image) -> None:
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 60, (60, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 40, (60, 2))], axis=1).astype(np.float32)
    scores = rng.uniform(0, 1, (60, 3)).astype(np.float32) ** 2
    settings = SETTINGS.model_copy(update={"max_per_class": per_class, "max_per_image": per_image})
    limits = detector(side=100, max_per_image=per_image)
    chosen = Candidates.above(settings.min_score, boxes, scores, (100, 100, 3)).limit_by_class(per_class)
    found = limits.finish(chosen)
    columns = zip(found.scores, found.labels, map(tuple, found.boxes), strict=True)
    assert list(columns) == slow_select(boxes, scores, settings)


def test_a_box_outside_of_the_image_is_dropped(pictures) -> None:
    root, records, _ = pictures

    def outside(outputs):
        boxes, scores = outputs
        return torch.cat([boxes, boxes + 1000], dim=1), scores.repeat(1, 2, 1)

    found = detect(detector(decode=outside), records, root)
    assert len(found) == len(records)
