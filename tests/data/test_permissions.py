"""What the system does not let a person read is named by its path below the dataset's folder."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from pipeline.data.dataset import validate

NOBODY = 65534
BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
DENIED = "cannot be read (Permission denied)"


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up the rights of root, who may read everything; others need not."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def root() -> Iterator[Path]:
    """Return a folder in which everyone may look, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "set").mkdir()
        yield Path(name) / "set"


def voc(root: Path) -> None:
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number in range(5):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(root / f"JPEGImages/{number}.png")
        (root / f"Annotations/{number}.xml").write_text(
            f"<annotation><object><name>a</name>{BOX}</object></annotation>"
        )
    (root / "ImageSets/Main/trainval.txt").write_text("0\n2\n3\n4\n")
    (root / "ImageSets/Main/test.txt").write_text("1\n")


def yolo(root: Path) -> None:
    for split in ("train", "test"):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (20, 20), (number, len(split), 0)).save(root / f"images/{split}/{number}.png")
            (root / f"labels/{split}/{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "data.yaml").write_text("names: [a]\n")


@pytest.mark.parametrize(
    ("write", "closed", "mode", "problem"),
    [
        (voc, "JPEGImages/1.png", 0, f"{DENIED}; mend it, or set data.skip_unreadable to leave such images out."),
        (voc, "Annotations/1.xml", 0, f"{DENIED}; a file that you may read would be right."),
        (voc, "ImageSets/Main/test.txt", 0, f"{DENIED}; a file that you may read would be right."),
        (voc, "Annotations", 0, f"{DENIED}; a folder that you may read would be right."),
        (voc, "JPEGImages", 0o444, f"{DENIED}; a folder that you may read would be right."),
        (yolo, "images/train", 0, f"{DENIED}; a folder that you may read would be right."),
        (yolo, "labels/train/1.txt", 0, f"{DENIED}; a file that you may read would be right."),
    ],
)
def test_what_may_not_be_read_is_named(
    root: Path, write: Callable[[Path], None], closed: str, mode: int, problem: str
) -> None:
    write(root)
    assert validate(root, 1).ok
    before = (root / closed).stat().st_mode
    (root / closed).chmod(mode)
    with as_nobody():
        problems = validate(root, 1).problems
    (root / closed).chmod(before)
    assert problems == [f"{closed}: {problem}"]
