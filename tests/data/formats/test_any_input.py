"""Folders with one fault each: every reader says what is wrong in a sentence, or counts what it leaves out."""

import io
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.dataset import validate
from pipeline.data.report import Report
from tests.data.formats.faults import faults
from tests.data.formats.test_same_dataset import LAYOUTS

NOT_USED = {
    "image without annotation", "image without object", "list not used", "image in no split", "file that is no image",
    "folder that is not read", "list that is not read", "annotation file that is not read",
}  # fmt: skip


class Recorder:
    """Stands for a folder that a layout is written into: keeps the content of each file."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def pictures(self, *files: str) -> None:
        for file in files:
            stream = io.BytesIO()
            Image.new("RGB", (160, 80), tuple(file.encode()[-7:-4])).save(stream, "PNG")
            self.files[file] = stream.getvalue()

    def write(self, file: str, text: str) -> None:
        self.files[file] = text.encode()


@cache
def content(layout: Callable[[Any], None]) -> dict[str, bytes]:
    """Return the content of each file of a layout."""
    recorder = Recorder()
    layout(recorder)
    return recorder.files


def written(files: dict[str, bytes], root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    for file, data in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(data)


def annotated(root: Path, source: str, files: Iterable[str]) -> int:
    """Count the annotated objects by their marks alone: in ``files`` or, where one is gone, in all that there are."""
    count = 0
    known = [root / file for file in files]
    for path in known if all(path.is_file() for path in known) else root.rglob("*"):
        if not path.is_file() or path.suffix in (".png", ".data"):
            continue
        data = path.read_bytes()
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", errors="replace")
        if source == "voc":
            count += text.count("<object>")
        elif source == "yolo":
            count += sum(len(line.split()) > 4 for line in text.splitlines())
        elif source == "csv":
            count += sum(len(line.replace(";", ",").split(",")) > 4 for line in text.splitlines()[1:])
        elif path.suffix == ".json":
            count += sum(isinstance(entry, dict) for entry in _entries(json.loads(data)))
    return count


def _entries(value: Any, inside: str = "") -> Iterator[Any]:
    """Yield what a JSON value has below the keys that hold objects."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        if inside in ("annotations", "shapes", "regions"):
            yield each
        yield from _entries(each, str(key))


def check(report: Report, root: Path, source: str, files: Iterable[str]) -> None:
    """Check that problems are sentences that name a file, or that no object is lost without a word."""
    for line in (*report.problems, *report.table().splitlines()):
        assert line.isprintable()
        assert len(line) < 600
    if report.ok:
        kept = sum(sum(objects.values()) for objects in report.objects.values())
        lost = annotated(root, source, files) - kept - report.dropped_boxes - len(report.notes["shape without area"])
        assert lost <= 0 or any(report.notes[kind] for kind in NOT_USED)
    else:
        assert all(problem.endswith(".") for problem in report.problems)
        said = ascii(report.problems).replace("\\\\", "\\")
        names = [ascii(path.name)[1:-1] for path in (root, *root.rglob("*"))]
        assert any(name in said for name in (*names, "split train", "split test")), said


ALL = [(source, layout) for source, layouts in LAYOUTS.items() for layout in layouts]


@pytest.mark.slow  # all together
@pytest.mark.parametrize(("source", "layout"), ALL)
@settings(max_examples=40, derandomize=True)
@given(data=st.data(), named=st.booleans())
def test_one_fault(
    source: str, layout: Callable, named: bool, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp() / "any_input"
    written(content(layout), root)
    data.draw(faults(content(layout))).put(root)
    check(validate(root, 1, source if named else "auto"), root, source, content(layout))
