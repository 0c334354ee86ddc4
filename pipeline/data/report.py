"""The findings on a dataset: counts, notes on what was changed or left out, and problems that stop a run."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from unicodedata import category

from pipeline.core.errors import InputError
from pipeline.data.index import Index

Note = Literal[
    "box without area",
    "inverted box",
    "box outside the image",
    "box that is not finite",
    "clipped box",
    "clipped mask",
    "mask without pixels",
    "unreadable image",
    "size differs from the image",
    "image without annotation",
    "image without object",
    "shape without area",
    "list not used",
    "annotation file that is not read",
    "layout recognised",
    "image in no split",
    "file that is no image",
    "folder that is not read",
    "list that is not read",
    "name given twice",
    "same image in two splits",
    "same object twice",
    "image without contrast",
    "image that proposals take long for",
    "class without object",
    "classes with almost one name",
    "category given twice",
    "split made here",
]
DROPPED_BOX: tuple[Note, ...] = (
    "box without area",
    "inverted box",
    "box outside the image",
    "box that is not finite",
)
PRINTED = 10  # messages of each kind; the JSON holds all
LONGEST = 500  # characters of a message: values in annotations have any length


@dataclass
class Report:
    """The findings on one dataset.

    A *problem* stops the run: the dataset is wrong in a way that only its owner can mend. A *note* says what was
    dropped, clipped, or decided. Each is one sentence that names the file and its line or object; paths are relative
    to the dataset's folder, so that the same dataset elsewhere gives the same report.

    Attributes:
        problems: in the order found.
        notes: by kind.
        objects: for each split and class name the number of objects; ignored ones are included.
        images: the number of images for each split.
        ignored: the number of difficult or crowd objects for each split.
        masks: as objects, those with a mask.
    """

    problems: list[str] = field(default_factory=list)
    notes: dict[Note, list[str]] = field(default_factory=lambda: defaultdict(list))
    images: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    objects: dict[str, dict[str, int]] = field(default_factory=dict)
    masks: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether a run can use the dataset."""
        return not self.problems

    @property
    def dropped_boxes(self) -> int:
        """The number of boxes left out."""
        return sum(len(self.notes.get(kind, ())) for kind in DROPPED_BOX)

    @property
    def clipped_boxes(self) -> int:
        """The number of boxes cut to their image."""
        return len(self.notes.get("clipped box", ()))

    def problem(self, where: str, message: str) -> None:
        """Add a problem at the file, line or key ``where``: what is wrong, and what would be right."""
        self.problems.append(one_line(f"{where}: {message}"))

    def refuse(self, error: InputError) -> None:
        """Add the problem that an error names."""
        self.problems.append(one_line(str(error)))

    def note(self, kind: Note, where: str, message: str) -> None:
        """Add a note of a kind."""
        self.notes[kind].append(one_line(f"{where}: {message}"))

    def count(self, split: str, index: Index) -> None:
        """Add a split's numbers."""
        labels = Counter(int(label) for image in index.images for label in image.labels)
        masked = Counter(int(label) for image in index.images for label in image.labels[image.masked])
        self.images[split] = len(index.images)
        self.ignored[split] = int(sum(image.ignore.sum() for image in index.images))
        self.objects[split] = {name: labels[i] for i, name in enumerate(index.classes, 1)}
        self.masks[split] = {name: masked[i] for i, name in enumerate(index.classes, 1)}

    def stop_if_broken(self, source: str) -> None:
        """Raise the problems, the first ones in full; ``source`` names the dataset.

        Raises:
            InputError: there is a problem.
        """
        if self.ok:
            return
        if len(self.problems) == 1:
            raise InputError(f"{source}: {self.problems[0]}")
        raise InputError(f"{source}: {len(self.problems)} problems\n" + "\n".join(_first(self.problems)))

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "splits": {
                split: {
                    "images": self.images[split],
                    "objects": sum(self.objects[split].values()),
                    "ignored": self.ignored[split],
                }
                for split in self.images
            },
            "classes": self._by_class(self.objects),
            **({"masks": self._by_class(self.masks)} if self._has_masks else {}),
            "dropped_boxes": self.dropped_boxes,
            "clipped_boxes": self.clipped_boxes,
            "problems": self.problems,
            "notes": {kind: messages for kind, messages in sorted(self.notes.items()) if messages},
        }

    def table(self) -> str:
        """Return a text for the terminal: objects by class and split, then notes and problems, the first of each."""
        lines: list[str] = []
        if self.images:
            rows: list[list[str | int]] = [["", *self.images], ["images", *self.images.values()]]
            rows.append(["objects", *(sum(objects.values()) for objects in self.objects.values())])
            rows.append(["  of which ignored", *self.ignored.values()])
            if self._has_masks:
                rows.append(["  of which with a mask", *(sum(masks.values()) for masks in self.masks.values())])
            rows += [[f"  {name}", *(self.objects[split][name] for split in self.objects)] for name in self._classes()]
            lines += _columns(rows)
        for kind, messages in sorted(self.notes.items()):
            lines += ["", f"{kind}: {len(messages)}", *_first(messages)] if messages else []
        lines += ["", f"problems: {len(self.problems)}", *_first(self.problems)]
        return "\n".join(lines).strip("\n")

    @property
    def _has_masks(self) -> bool:
        return any(any(masks.values()) for masks in self.masks.values())

    def _by_class(self, counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
        return {name: {split: counts[split][name] for split in counts} for name in self._classes()}

    def _classes(self) -> Iterable[str]:
        return next(iter(self.objects.values()), {})


def is_odd(letter: str) -> bool:
    """Whether a character breaks or controls a line, or is half of one, which no UTF-8 file takes."""
    return category(letter) in ("Cc", "Cs", "Zl", "Zp")


def one_line(text: str) -> str:
    """Return a message as one line that any file takes: odd characters escaped, cut in the middle where it is long."""
    plain = "".join(ascii(letter)[1:-1] if is_odd(letter) else letter for letter in text)
    half = (LONGEST - 5) // 2
    return plain if len(plain) <= LONGEST else f"{plain[:half]} ... {plain[-half:]}"


def short(text: str) -> str:
    """Return the beginning of a value for a message, 60 characters at most."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def _first(messages: Sequence[str]) -> list[str]:
    more = [f"  ... and {len(messages) - PRINTED} more"] if len(messages) > PRINTED else []
    return [f"  {message}" for message in messages[:PRINTED]] + more


def _columns(rows: Sequence[Sequence[str | int]]) -> list[str]:
    """Align rows: the first column to the left, numbers to the right."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            [f"{row[0]:<{widths[0]}}", *(f"{value:>{width}}" for value, width in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]
