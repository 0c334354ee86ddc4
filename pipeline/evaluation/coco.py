"""COCO's average precision, computed by faster-coco-eval, and COCO's matching at each overlap.

The library gives the AP and keeps the matches to itself; `coco_verdicts` gives them, by the rules of ``cocoeval.py``.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, to_xywh
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.voc import Verdicts, by_image, objects_per_image, positions

IOUS = np.arange(50, 100, 5) / 100
# Sizes by area in square pixels, limits included on both sides; what faster-coco-eval and pycocotools use.
SIZES = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
# COCO's limit on the detections of a class in an image.
MOST_PER_IMAGE = 100


def coco_ap_by_size(index: Index, detections: Detections) -> dict[str, NDArray[np.float64]]:
    """Return COCO's AP by object size (`SIZES`), each for every class and every overlap of `IOUS`: ``(classes, 10)``.

    The official figure is the mean of all entries that are not NaN; a class without objects of a size has NaN there.
    Per image and class the best 100 detections count. Objects of another size are ignored, and so are detections of
    another size that match nothing.

    Objects to ignore are handed over as crowds, COCO's one way to ignore: they are no positives, they may absorb any
    number of detections, and a detection's overlap with one is the share of the detection inside it. The last point
    is milder than VOC's rule for difficult objects, where the plain overlap decides.
    """
    result = {size: _zero_where_objects(index, *limits) for size, limits in SIZES.items()}
    if len(detections) == 0 or np.isnan(result["all"]).all():
        return result
    for aps, precision in zip(result.values(), _precision(index, detections), strict=True):
        scored = (precision > -1).all(axis=(0, 1))
        aps[scored] = precision[:, :, scored].mean(axis=1).T
    return result


def _zero_where_objects(index: Index, least: float, most: float) -> NDArray[np.float64]:
    """Return NaN for classes without an object of the areas ``least`` to ``most``, 0 for the others."""
    result = np.full((len(index.classes), len(IOUS)), np.nan)
    for image in index.images:
        areas = _areas(image.boxes)
        result[image.labels[~image.ignore & (areas >= least) & (areas <= most)] - 1] = 0
    return result


def _precision(index: Index, detections: Detections) -> NDArray[np.float64]:
    """Run faster-coco-eval without its messages: ``(sizes, overlaps, recalls, classes)``, -1 for want of objects."""
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(_dataset(index))
    evaluation = COCOeval_faster(truth, truth.loadRes(_results(detections)), iouType="bbox")
    evaluation.params.iouThrs = IOUS
    evaluation.params.areaRng = list(SIZES.values())
    evaluation.params.areaRngLbl = list(SIZES)
    evaluation.evaluate()
    evaluation.accumulate()
    return np.moveaxis(evaluation.eval["precision"][..., -1], 3, 0)


def _areas(boxes: Boxes) -> NDArray[np.float32]:
    xywh = to_xywh(boxes)
    return xywh[:, 2] * xywh[:, 3]


def _dataset(index: Index) -> dict:
    annotations = [
        {
            "image_id": image.id,
            "category_id": int(label),
            "bbox": xywh.tolist(),
            "area": area,
            "iscrowd": int(ignore),
        }
        for image in index.images
        for xywh, area, label, ignore in zip(
            to_xywh(image.boxes), _areas(image.boxes).tolist(), image.labels, image.ignore, strict=True
        )
    ]
    return {
        "categories": [{"id": i, "name": name} for i, name in enumerate(index.classes, 1)],
        "images": [{"id": image.id, "width": image.width, "height": image.height} for image in index.images],
        "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, 1)],
    }


def _results(detections: Detections) -> list[dict]:
    columns = (detections.image_ids, detections.labels, to_xywh(detections.boxes), detections.scores)
    return [
        {"image_id": image_id, "category_id": label, "bbox": xywh, "score": score}
        for image_id, label, xywh, score in zip(*(column.tolist() for column in columns), strict=True)
    ]


def coco_verdicts(index: Index, detections: Detections, label: int) -> Verdicts:
    """Match the detections of class ``label`` by COCO's rules at the ten overlaps of `IOUS` (``cocoeval.py``).

    Unlike VOC's there is a second choice: a detection takes the unclaimed object that it overlaps most. Objects to
    ignore are crowds, as in `coco_ap_by_size`. Equal scores go by image id, then keep their order.
    """
    of_class = detections.take(detections.labels == label)
    ranked = _best_per_image(of_class.take(np.lexsort((of_class.image_ids, -of_class.scores))))
    correct = np.zeros((len(IOUS), len(ranked)), np.bool_)
    ignored = np.zeros_like(correct)
    for image, rows in by_image(index, ranked, label):
        correct[:, rows], ignored[:, rows] = _coco_match(ranked.take(rows), image, label)
    return Verdicts(positions(index, ranked), correct, ignored, objects_per_image(index, label))


def _coco_match(detections: Detections, image: ImageRecord, label: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Match one image's detections, best first, with its objects of a class: correct and ignored, ``(T, D)`` each."""
    from faster_coco_eval.core import mask

    of_class = image.labels == label
    crowd = image.ignore[of_class]
    # With the library's own arithmetic, so that a bit more or less decides nothing.
    overlaps = mask.iou(to_xywh(detections.boxes), to_xywh(image.boxes[of_class]), crowd.astype(int).tolist())
    free = np.tile(~crowd, (len(IOUS), 1))  # (T, objects)
    correct = np.zeros((len(IOUS), len(detections)), np.bool_)
    ignored = np.zeros_like(correct)
    for i, overlap in enumerate(np.asarray(overlaps)):
        passes = overlap >= IOUS[:, None]
        candidates = np.where(passes & free, overlap, -1.0)[:, ::-1]  # Reversed: of equal overlaps the last wins.
        best = candidates.shape[1] - 1 - candidates.argmax(axis=1)
        hit = candidates.max(axis=1) >= 0
        free[hit, best[hit]] = False
        correct[:, i] = hit
        ignored[:, i] = ~hit & (passes & crowd).any(axis=1)
    return correct, ignored


def _best_per_image(ranked: Detections) -> Detections:
    """Return the first `MOST_PER_IMAGE` of each image, in their order."""
    order = np.argsort(ranked.image_ids, kind="stable")
    _, starts, counts = np.unique(ranked.image_ids[order], return_index=True, return_counts=True)
    place = np.empty(len(ranked), np.int64)
    place[order] = np.arange(len(ranked)) - np.repeat(starts, counts)
    return ranked.take(place < MOST_PER_IMAGE)
