"""COCO's average precision, computed by faster-coco-eval."""

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import to_xywh
from pipeline.data.index import Index
from pipeline.evaluation.detections import Detections

IOUS = np.arange(50, 100, 5) / 100


def coco_ap(index: Index, detections: Detections) -> NDArray[np.float64]:
    """Return COCO's AP for each class and each overlap of `IOUS`, shape ``(classes, 10)``.

    The official figure is the mean of all entries that are not NaN; a class without objects has NaN. Per image and
    class the best 100 detections count, sizes are not told apart.

    Objects to ignore are handed over as crowds, COCO's one way to ignore: they are no positives, they may absorb any
    number of detections, and a detection's overlap with one is the share of the detection inside it. The last point
    is milder than VOC's rule for difficult objects, where the plain overlap decides.
    """
    result = np.full((len(index.classes), len(IOUS)), np.nan)
    for image in index.images:
        result[image.labels[~image.ignore] - 1] = 0
    if len(detections) == 0 or np.isnan(result).all():
        return result
    precision = _precision(index, detections)  # (overlaps, recalls, classes); -1 where a class has no objects
    scored = (precision > -1).all(axis=(0, 1))
    result[scored] = precision[:, :, scored].mean(axis=1).T
    return result


def _precision(index: Index, detections: Detections) -> NDArray[np.float64]:
    """Run faster-coco-eval without its messages."""
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(_dataset(index))
    evaluation = COCOeval_faster(truth, truth.loadRes(_results(detections)), iouType="bbox")
    evaluation.params.iouThrs = IOUS
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0, -1]


def _dataset(index: Index) -> dict:
    annotations = [
        {
            "image_id": image.id,
            "category_id": int(label),
            "bbox": xywh.tolist(),
            "area": float(xywh[2] * xywh[3]),
            "iscrowd": int(ignore),
        }
        for image in index.images
        for xywh, label, ignore in zip(to_xywh(image.boxes), image.labels, image.ignore, strict=True)
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
