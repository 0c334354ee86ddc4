"""The layout of the output, and boxes and scores from it."""

import torch

from pipeline.systems.yolo.loss import cell_targets
from pipeline.systems.yolo.network import boxes_and_scores, corners, split


def test_classes_of_all_cells_come_first_then_confidences_then_boxes() -> None:
    # 2 x 2 cells, 2 boxes, 3 classes: 12 class scores, 8 confidences, 32 numbers of boxes.
    parts = split(torch.arange(52.0)[None], 2, 2, 3)
    assert parts.classes[0, 1].tolist() == [3, 4, 5]
    assert parts.confidences[0].tolist() == [[12, 13], [14, 15], [16, 17], [18, 19]]
    assert parts.boxes[0, 3, 1].tolist() == [48, 49, 50, 51]


def test_a_box_is_its_cell_plus_offset_and_the_square_of_its_root() -> None:
    boxes = torch.zeros(1, 4, 1, 4)
    boxes[0, 2, 0] = torch.tensor([0.5, 0.25, 0.5, -0.6])  # row 1, column 0; a root may be negative
    x1, y1, x2, y2 = corners(boxes, 2)[0, 2, 0].tolist()
    assert (round((x1 + x2) / 2, 6), round((y1 + y2) / 2, 6)) == (0.25, 0.625)
    assert (round(x2 - x1, 6), round(y2 - y1, 6)) == (0.25, 0.36)


def test_targets_decode_to_the_boxes_they_came_from() -> None:
    generator = torch.Generator().manual_seed(2)
    low = torch.rand(5, 2, generator=generator) * 60
    boxes = torch.cat([low, low + 4 + torch.rand(5, 2, generator=generator) * 30], dim=1)
    targets = cell_targets([boxes], [torch.arange(1, 6)], 100, 7)
    flat_boxes = torch.zeros(1, 49, 2, 4)
    flat_boxes[0, targets.cells, 0] = torch.cat([targets.boxes[:, :2], targets.boxes[:, 2:].sqrt()], dim=1)
    found = corners(flat_boxes, 7)[0, targets.cells, 0] * 100
    assert torch.allclose(found, boxes[targets.classes], atol=1e-4)


def test_scores_are_confidence_times_class_score() -> None:
    flat = torch.randn(2, 9 * (4 + 10))
    parts = split(flat, 3, 2, 4)
    boxes, scores = boxes_and_scores(parts, 3, 96)
    assert boxes.shape == (2, 18, 4)
    assert scores.shape == (2, 18, 4)
    for cell, box, label in ((0, 0, 0), (8, 1, 3), (4, 0, 2)):
        expected = parts.confidences[1, cell, box] * parts.classes[1, cell, label]
        assert scores[1, 2 * cell + box, label] == expected
        assert torch.equal(boxes[1, 2 * cell + box], corners(parts.boxes, 3)[1, cell, box] * 96)
