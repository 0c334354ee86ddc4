"""CSV: a table with a header, a row for each box; corners in pixels from 0, or the upper left corner and the size."""

import csv
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath

from pipeline.core.errors import InputError
from pipeline.core.sections import SplitShares
from pipeline.data.formats.layout import Layout, gather
from pipeline.data.formats.tree import Listed, Tree, split_of
from pipeline.data.report import Report
from pipeline.data.source import Source, SourceImage, SourceObject, is_text, watched

# By the name here: what headers call the column, in small letters and without marks.
COLUMNS = {
    "file": ("filename", "file", "image", "imagename", "imageid", "imagepath", "filepath", "path", "img"),
    "class": ("class", "label", "classname", "labelname", "category", "name"),
    "split": ("split", "set", "subset"),
    "x1": ("xmin", "x1", "left"),
    "y1": ("ymin", "y1", "top"),
    "x2": ("xmax", "x2", "right"),
    "y2": ("ymax", "y2", "bottom"),
    "x": ("x", "bboxx"),
    "y": ("y", "bboxy"),
    "width": ("width", "w", "bboxwidth", "bboxw"),
    "height": ("height", "h", "bboxheight", "bboxh"),
}
CORNERS, SIZED = ("x1", "y1", "x2", "y2"), ("x", "y", "width", "height")
FULL = "a header with file, class, xmin, ymin, xmax and ymax, or x, y, width and height,"

Row = dict[str, str]
"""The texts of a row by the names of `COLUMNS`."""


def find(tree: Tree) -> Layout | None:
    """Find CSV files whose header names a file, a class and the four numbers of a box.

    Raises:
        InputError: a file has boxes without classes or files, and none has all.
    """
    columns = {file: _columns(_header(tree, file)) for file in tree.ending(".csv", ".tsv")}
    files = [file for file, known in columns.items() if {"file", "class"} <= known.keys() and _box(known)]
    for file, known in columns.items():
        if not files and _box(known):
            raise InputError(f"{file}:1: names {', '.join(known.values())}; {FULL} would be right.")
    return Layout(f"{' and '.join(files)}, with a row for each box", partial(_read, tree, files)) if files else None


def _header(tree: Tree, file: str) -> str:
    with (tree.root / file).open(encoding="utf-8-sig", errors="replace") as stream:
        return stream.readline()


def _mark(header: str) -> str:
    """Return the mark between the columns."""
    return max(",;\t", key=header.count)


def _columns(header: str) -> dict[str, str]:
    """Return the columns that are known: their name in `COLUMNS`, and in the header."""
    names = next(csv.reader([header], delimiter=_mark(header)), [])
    plain = {"".join(filter(str.isalnum, name.lower())): name for name in names}
    found = {name: [plain[each] for each in known if each in plain] for name, known in COLUMNS.items()}
    return {name: each[0] for name, each in found.items() if each}


def _box(known: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the names of the box's numbers; ``width`` and ``height`` are the image's where corners are given."""
    return next((names for names in (CORNERS, SIZED) if set(names) <= known.keys()), None)


def _read(tree: Tree, files: list[str], shares: SplitShares, seed: int, report: Report) -> Source:
    objects: dict[str, list[SourceObject]] = {}
    wheres: dict[str, str] = {}
    lists: Listed = {}
    for file in files:
        for where, row in _rows(tree, file, report):
            image = tree.image_named(row["file"], file)
            if image is None:
                report.problem(where, f"names {row['file']!r}, which is not the path or the name of one image.")
                continue
            wheres.setdefault(image, where)
            objects.setdefault(image, [])
            if (item := _object(row, where, report)) is not None:
                objects[image].append(item)
            if split := _split(row, file):
                lists.setdefault(split, {}).setdefault(image, where)
    images = [SourceImage(image, tuple(items), None, wheres[image]) for image, items in objects.items()]
    return gather(tree, images, lists or tree.split_lists(report), shares, seed, report)


def _rows(tree: Tree, file: str, report: Report) -> Iterator[tuple[str, Row]]:
    known, mark = _columns(header := _header(tree, file)), _mark(header)
    try:
        with (tree.root / file).open("rb") as stream:
            count = sum(1 for _ in stream)
        with (tree.root / file).open(encoding="utf-8-sig", newline="") as text:
            lines = watched(text, "reading annotations", "line", count)
            reader = csv.DictReader(lines, delimiter=mark)
            for row in reader:
                where = f"{file}:{reader.line_num}"
                if None in row or None in row.values():
                    report.problem(where, f"has not the {len(reader.fieldnames or ())} columns of the header.")
                else:
                    yield where, {name: row[column].strip() for name, column in known.items()}
    except UnicodeDecodeError:
        report.problem(file, "is not UTF-8 text.")
    except csv.Error as error:
        report.problem(file, f"is no CSV ({error}).")


def _object(row: Row, where: str, report: Report) -> SourceObject | None:
    """Return the object of a row; None and a problem where it cannot be read, None where all its texts are empty."""
    names = _box(row)
    assert names is not None
    texts = [row[name] for name in names]
    if not any(texts) and not row["class"]:
        return None
    if not is_text(row["class"]):
        report.problem(where, f"has {row['class']!r} as its class; a name would be right.")
        return None
    try:
        a, b, c, d = map(float, texts)
    except ValueError:
        report.problem(where, f"has the box {', '.join(texts)!r}; four numbers would be right.")
        return None
    return SourceObject(row["class"], (a, b, c, d) if names == CORNERS else (a, b, a + c, b + d), False, where)


def _split(row: Row, file: str) -> str | None:
    """Return the split that a column, or the path of the file, names: ``test/boxes.csv``, ``train_labels.csv``."""
    if row.get("split"):
        return split_of(row["split"])
    path = PurePosixPath(file)
    return split_of(path.stem.replace("_", "/").replace("-", "/")) or split_of(path.parent.as_posix())
