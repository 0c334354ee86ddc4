"""Small datasets made by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.core.sections import Data
from pipeline.params import parse

Box = tuple[float | str, float | str, float | str, float | str]
ROOT = Path(__file__).resolve().parents[2]


class VocBuilder:
    """Writes a VOC folder piece by piece; the XML is text by hand, not from a writer of this project."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("Annotations", "JPEGImages"):
            (root / name).mkdir(parents=True)

    def image(self, file: str, width: int = 100, height: int = 80) -> Path:
        path = self.root / "JPEGImages" / file
        value = sum(file.encode()) % 256  # another name, another picture
        Image.new("RGB", (width, height), (value, 255 - value, len(file))).save(path)
        return path

    def xml(self, name: str, *objects: tuple[str, Box], size: tuple[int, int] = (100, 80), more: str = "") -> Path:
        tags = ("xmin", "ymin", "xmax", "ymax")
        boxes = [
            f"<object>\n<name>{label}</name>{more}\n<bndbox>"
            + "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, box, strict=True))
            + "</bndbox></object>\n"
            for label, box in objects
        ]
        width, height = size
        text = (
            f"<annotation>\n<size><width>{width}</width><height>{height}</height></size>\n{''.join(boxes)}</annotation>"
        )
        return self.raw(name, text)

    def raw(self, name: str, text: str) -> Path:
        path = self.root / "Annotations" / f"{name}.xml"
        path.write_text(text, encoding="utf-8")
        return path

    def pair(self, name: str, *objects: tuple[str, Box]) -> None:
        self.image(f"{name}.png")
        self.xml(name, *(objects or (("cat", (11, 21, 30, 40)),)))

    def list(self, split: str, *names: str) -> None:
        folder = self.root / "ImageSets" / "Main"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


@pytest.fixture
def voc(tmp_path: Path) -> VocBuilder:
    return VocBuilder(tmp_path / "set")


@pytest.fixture
def devkit(tmp_path: Path) -> Callable[..., VocBuilder]:
    """Return a function that adds a VOC folder with the images of each list to a devkit, each another picture."""

    def add(folder: str, **lists: list[str]) -> VocBuilder:
        builder = VocBuilder(tmp_path / "VOCdevkit" / folder)
        for split, names in lists.items():
            builder.list(split, *names)
            for name in names:
                width = 100 + len(list(tmp_path.rglob("*.jpg")))
                builder.image(f"{name}.jpg", width)
                builder.xml(name, ("cat", (11, 21, 30, 40)), size=(width, 80))
        return builder

    return add


@pytest.fixture
def make_data() -> Callable[..., Data]:
    """Return a function that gives the ``data`` section of params.yaml with some keys changed."""
    from ruamel.yaml import YAML

    content = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))

    def make(root: Path, source: str = "voc", **changes: Any) -> Data:
        section = content["data"] | {"root": str(root), "source": source} | changes
        return parse(content | {"data": section}, "test").data

    return make


class CocoBuilder:
    """Collects a COCO file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.content: dict[str, list] = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "cat"}]}
        (root / "images").mkdir(parents=True)

    def image(self, key: int, name: str, **more: Any) -> None:
        path = self.root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(key).integers(0, 256, (80, 100, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        self.content["images"].append({"id": key, "file_name": name, "width": 100, "height": 80} | more)

    def box(self, image: int, bbox: Any = (10, 20, 20, 20), category: Any = 7, **more: Any) -> None:
        entries = self.content["annotations"]
        entries.append({"id": len(entries) + 1, "image_id": image, "category_id": category, "bbox": bbox} | more)

    def save(self, name: str = "annotations.json") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.content), encoding="utf-8")
        return path


@pytest.fixture
def coco(tmp_path: Path) -> CocoBuilder:
    return CocoBuilder(tmp_path / "set")
