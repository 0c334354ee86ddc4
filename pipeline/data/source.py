"""What a reader hands on: images and objects as their annotation says, before any check against the pixels."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SourceObject:
    """One annotated object.

    Attributes:
        name: its class.
        corners: ``(x1, y1, x2, y2)`` in the convention of the source, perhaps inverted or not finite.
        ignore: difficult (VOC) or crowd (COCO).
        where: the file and line, or the file and annotation id.
    """

    name: str
    corners: tuple[float, float, float, float]
    ignore: bool
    where: str


@dataclass(frozen=True)
class SourceImage:
    """One annotated image: its path below the data root, its objects, and the size its annotation claims, if any."""

    file: str
    objects: tuple[SourceObject, ...]
    size: tuple[float, float] | None
    where: str


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8: not empty, and without the halves of characters that bad bytes leave."""
    return bool(name) and not any("\ud800" <= character <= "\udfff" for character in name)


@dataclass(frozen=True)
class Source:
    """A whole dataset as annotated: the images of each split.

    ``inclusive`` says that corners are VOC's, 1-based with the last pixel inside; else they are the project's.
    """

    inclusive: bool
    splits: dict[str, list[SourceImage]] = field(default_factory=dict)
