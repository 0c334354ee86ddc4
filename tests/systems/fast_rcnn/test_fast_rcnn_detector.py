"""Fast R-CNN's two published protocols, from scored regions to detections."""

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from pipeline.core.clock import NULL_CLOCK
from pipeline.data.index import ImageRecord, Index
from pipeline.detector import Description, Picture, detect_split
from pipeline.systems.fast_rcnn.detector import RegionDetector, ScoredRegions, limits_of


class Scored(RegionDetector):
    """A detector that has scored the regions of each image already; no image is read."""

    reads_pixels = False

    def __init__(self, settings, images: dict[int, ScoredRegions], index: Index) -> None:
        super().__init__(Description.of("scored", index.classes, **limits_of(settings, [index], "detect")), settings)
        self.images = images

    def candidates(self, pictures: list[Picture], clock=NULL_CLOCK):
        return [self.choose(self.images[picture.image_id]) for picture in pictures]


def detect(settings, images: dict[int, ScoredRegions], root):
    index = Index(("a", "b", "c"), tuple(ImageRecord(image, "", 100, 100, "") for image in images))
    return detect_split(Scored(settings, images, index), index, root)[0]


def scored(count: int, classes: int, seed: int) -> ScoredRegions:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, classes, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 40, (count, classes, 2))], axis=2)
    return ScoredRegions(rng.random((count, classes)).astype(np.float32), boxes.astype(np.float32))


def expected_after_nms(regions: ScoredRegions, keep: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    """Return (region, class) of what torchvision's own suppression by class leaves of ``keep``."""
    rows, columns = np.nonzero(keep)
    kept = batched_nms(
        torch.from_numpy(regions.boxes[rows, columns]),
        torch.from_numpy(regions.scores[rows, columns]),
        torch.from_numpy(columns),
        threshold,
    )
    return {(int(rows[i]), int(columns[i])) for i in kept.tolist()}


def found_in(regions: ScoredRegions, detections, image: int) -> set[tuple[int, int]]:
    own = detections.take(detections.image_ids == image)
    return {
        (int(np.flatnonzero(regions.scores[:, label - 1] == score)[0]), label - 1)
        for label, score in zip(own.labels.tolist(), own.scores, strict=True)
    }


def test_budget_limits_before_suppression(sections, altered, tmp_path) -> None:
    settings = altered(sections.fast_rcnn.detect, protocol="budget", max_per_class=15, per_class_budget=10)
    images = {7: scored(40, 3, 0), 4: scored(30, 3, 1)}
    detections = detect(settings, images, tmp_path)
    top = {image: np.argsort(np.argsort(-r.scores, axis=0), axis=0) < 15 for image, r in images.items()}
    for column in range(3):
        kept = np.concatenate([r.scores[top[image][:, column], column] for image, r in images.items()])
        lowest = np.sort(kept)[-20]
        for image, r in images.items():
            top[image][:, column] &= r.scores[:, column] >= lowest
    for image, r in images.items():
        assert found_in(r, detections, image) == expected_after_nms(r, top[image], settings.nms)


def test_threshold_limits_after_suppression(sections, altered, tmp_path) -> None:
    settings = altered(sections.fast_rcnn.detect, protocol="threshold", min_score=0.4, max_per_image=12)
    regions = scored(40, 3, 2)
    detections = detect(settings, {5: regions}, tmp_path)
    left = expected_after_nms(regions, regions.scores > 0.4, settings.nms)
    best = sorted(left, key=lambda place: -regions.scores[place])[:12]
    assert len(left) > 12
    assert found_in(regions, detections, 5) == set(best)


@pytest.mark.parametrize("protocol", ["budget", "threshold"])
def test_images_without_regions_are_legal(sections, altered, tmp_path, protocol: str) -> None:
    settings = altered(sections.fast_rcnn.detect, protocol=protocol)
    empty = ScoredRegions(np.zeros((0, 3), np.float32), np.zeros((0, 3, 4), np.float32))
    assert len(detect(settings, {1: empty}, tmp_path)) == 0
    both = detect(settings, {1: empty, 2: scored(5, 3, 3)}, tmp_path)
    assert set(both.image_ids.tolist()) == {2}


@pytest.mark.parametrize("protocol", ["budget", "threshold"])
def test_a_box_pushed_out_of_the_image_is_none(sections, altered, tmp_path, protocol: str) -> None:
    """The official codes report it one pixel wide; here it takes no place of the limit either."""
    settings = altered(sections.fast_rcnn.detect, protocol=protocol, max_per_class=1)
    boxes = np.array([[100, 20, 100, 40], [30, 0, 60, 0], [0, 0, 20, 20]], np.float32)[:, None]
    regions = ScoredRegions(np.array([[0.9], [0.8], [0.7]], np.float32), boxes)
    assert detect(settings, {1: regions}, tmp_path).boxes.tolist() == [[0, 0, 20, 20]]


def test_a_class_that_could_not_be_learned_is_never_detected(sections, tmp_path) -> None:
    regions = scored(10, 2, 4)
    regions.scores[:, 1] = -np.inf
    assert set(detect(sections.fast_rcnn.detect, {1: regions}, tmp_path).labels.tolist()) == {1}
