"""Pictures from files to batches."""

from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from pipeline.core.boxes import as_boxes
from pipeline.evaluation.detections import Detections
from pipeline.predict import reading
from pipeline.predict.pictures import Picture
from pipeline.predict.reading import batches
from pipeline.predict.results import Result


def listed(folder: Path, *sizes: tuple[int, int] | None) -> list[Picture]:
    """Write a picture of each size; a broken file for None."""
    pictures = []
    for number, size in enumerate(sizes, 1):
        path = folder / f"{number}.png"
        if size is None:
            path.write_text("broken")
        else:
            Image.new("RGB", size, (number, 0, 0)).save(path)
        pictures.append(Picture(path, PurePosixPath(path.name)))
    return pictures


def test_batches_keep_the_order_and_hold_only_readable_pictures(tmp_path: Path) -> None:
    pictures = listed(tmp_path, (8, 8), None, (9, 8), (8, 9), None, (7, 7), None)
    found = list(batches(pictures, 2, keep_full=False))
    assert [[one.number for one in seen] for seen, _ in found] == [[1, 3], [4, 6], []]
    assert [[one.picture.path.stem for one in unread] for _, unread in found] == [["2"], ["5"], ["7"]]
    assert [one.reduced[0, 0, 0] for seen, _ in found for one in seen] == [1, 3, 4, 6]
    assert all(one.full is None for seen, _ in found for one in seen)


def test_pictures_to_be_drawn_end_a_batch_by_their_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH_PIXELS", 1000)
    pictures = listed(tmp_path, (40, 40), (20, 20), (20, 20), (20, 20), (10, 10))
    assert [len(seen) for seen, _ in batches(pictures, 8, keep_full=True)] == [1, 3, 1]
    assert [len(seen) for seen, _ in batches(pictures, 8, keep_full=False)] == [5]


def test_boxes_go_back_from_a_reduced_and_filled_up_strip(tmp_path: Path) -> None:
    ((((seen,), _)),) = batches(listed(tmp_path, (4000, 40)), 1, keep_full=True)
    assert seen.reduced.shape == (167, 1000, 3)  # 10 rows of the picture, the rest filled up
    assert (seen.reduced == (1, 0, 0)).all()
    assert seen.full is not None
    assert seen.full.shape == (40, 4000, 3)
    boxes = as_boxes([(100, 2, 200, 8), (100, 5, 200, 90), (0, 50, 90, 90), (1, 1, 9, 9)])
    found = Detections(np.zeros(4, np.int64), np.array([1, 2, 1, 2]), boxes, np.array([0.9, 0.8, 0.7, 0.1], np.float32))
    result = Result.of(seen, found, 0.5)
    assert result.found.boxes.tolist() == [[400, 8, 800, 32], [400, 20, 800, 40]]
    assert result.found.labels.tolist() == [1, 2]
    assert result.size == (4000, 40)
