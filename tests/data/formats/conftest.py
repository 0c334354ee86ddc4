"""A folder that a test fills, and what the project reads from it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.core.sections import SplitShares
from pipeline.data.dataset import build, validate
from pipeline.data.formats.recognise import read_folder
from pipeline.data.index import Index
from pipeline.data.report import Report


class Folder:
    """A folder with pictures of 160 x 80 pixels and text files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()

    def pictures(self, *files: str) -> None:
        """Write pictures, each with other pixels."""
        for file in files:
            path = self.root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(list(file.encode())).integers(0, 256, (80, 160, 3), np.uint8)
            Image.fromarray(pixels).save(path)

    def write(self, file: str, text: str) -> None:
        """Write a text file."""
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def png(self, file: str, values: Any) -> None:
        """Write values, ``(H, W)`` of an integer or of bool, as a PNG of grey."""
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(values)).save(path)

    def report(self, source: str = "auto") -> Report:
        """Return what `boxline validate` prints."""
        return validate(self.root, 1, source)

    def problem(self, source: str = "auto") -> str:
        """Return the only problem."""
        (problem,) = self.report(source).problems
        return problem

    def contents(self, source: str = "auto") -> dict[str, dict[str, list[Any]]]:
        """Return for each split the boxes of each picture, by its name without ending: ``(class, corners)``."""
        return {
            split: {
                Path(image.file).stem: [
                    (index.classes[label - 1], tuple(box.tolist()))
                    for label, box in zip(image.labels, image.boxes, strict=True)
                ]
                for image in index.images
            }
            for split, index in self._read(source).items()
        }

    def masks(self, source: str = "auto") -> dict[str, dict[str, list[Any]]]:
        """Return for each split the objects of each picture, sorted: ``(class, corners, mask as lists)``."""
        return {
            split: {
                Path(image.file).stem: sorted(
                    (index.classes[label - 1], tuple(box.tolist()), pixels if pixels is None else pixels.tolist())
                    for i, (label, box) in enumerate(zip(image.labels, image.boxes, strict=True))
                    for pixels in [image.mask(i)]
                )
                for image in index.images
            }
            for split, index in self._read(source).items()
        }

    def _read(self, source: str) -> dict[str, Index]:
        report = Report()
        read = read_folder(self.root, source, SplitShares(val=0.2, test=0.2), 1, report)
        return build(read, self.root, None, False, 1, report).splits


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "set")
