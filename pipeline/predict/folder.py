"""Results as a folder: pictures with boxes, VOC annotations, one COCO file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.storage import atomic
from pipeline.data.voc import VocObject, write_annotation
from pipeline.predict.coco import CocoWriter
from pipeline.predict.drawing import draw
from pipeline.predict.pictures import printable
from pipeline.predict.reading import Unread
from pipeline.predict.results import Result, whole_boxes

JPEG_ENDINGS = (".jpg", ".jpeg")


class Folder:
    """A `Listener`: ``pictures/NAME``, ``Annotations/NAME.xml`` and `DETECTIONS`, with the pictures' own subfolders."""

    def __init__(self, root: Path, coco: CocoWriter, classes: Sequence[str]) -> None:
        self._root, self._coco, self._classes = root, coco, classes

    def add(self, result: Result) -> None:
        """Write what belongs to one picture: a JPEG for a JPEG, a PNG for all others."""
        assert result.image is not None
        self._coco.add(result)
        target = self._root / "pictures" / result.picture.out
        target.parent.mkdir(parents=True, exist_ok=True)
        drawn = draw(result.image, result.found, self._classes)
        if target.suffix.lower() in JPEG_ENDINGS:
            drawn.save(target, "JPEG", quality=92)
        else:
            drawn.save(target.with_suffix(".png"), "PNG", compress_level=3)
        self._annotate(result)

    def fail(self, unread: Unread) -> None:
        """Note the file in the COCO file."""
        self._coco.fail(unread)

    def _annotate(self, result: Result) -> None:
        boxes = whole_boxes(result.found, result.size)
        objects = [
            VocObject(printable(self._classes[label - 1]), box)
            for label, box in zip(result.found.labels.tolist(), boxes, strict=True)
        ]
        (self._root / "Annotations" / result.picture.out).parent.mkdir(parents=True, exist_ok=True)
        write_annotation(self._root, str(result.picture.out), *result.size, objects)


@contextmanager
def folder(root: Path, classes: Sequence[str]) -> Iterator[Folder]:
    """Give a `Folder` below ``root``; ``detections.json`` appears there when the block ends."""
    with atomic(root / "detections.json") as temporary, temporary.open("w", encoding="utf-8") as stream:
        coco = CocoWriter(stream, classes)
        yield Folder(root, coco, classes)
        coco.close()
