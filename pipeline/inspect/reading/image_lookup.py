"""Finding an image by what a person types: its id, its file name, or a part of that name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.core.errors import InputError
from pipeline.data.index import ImageRecord, Index

# Candidates that a message lists.
LISTED = 6


@dataclass(frozen=True)
class FoundImage:
    """An image of a dataset: its split, its position in that split's index, and what the index says of it."""

    split: str
    position: int
    record: ImageRecord


def find_image(wanted: str, indexes: Mapping[str, Index]) -> FoundImage:
    """Return the image that ``wanted`` means among those of all ``indexes``, which are named by their splits.

    An id goes before a file name (with or without folders and suffix), and that before a part of one.

    Raises:
        InputError: no image is meant, or several are; the sentence lists candidates.
    """
    images = [
        FoundImage(split, position, record)
        for split, index in indexes.items()
        for position, record in enumerate(index.images)
    ]
    for meant in (_by_id(wanted, images), _by_name(wanted, images), _by_part(wanted, images)):
        if len(meant) == 1:
            return meant[0]
        if meant:
            raise InputError(
                f"{wanted}: {len(meant)} images are meant, {_listed(meant)}; an id or more of a name would be one."
            )
    raise InputError(
        f"{wanted}: no image of {', '.join(indexes)} has this id or this in its file name; "
        f"there are {_listed(images) if images else 'none'}."
    )


def parse_region(text: str) -> tuple[str, int]:
    """Split ``IMAGE:REGION`` into what names the image and the number of the region.

    Raises:
        InputError: it has another form.
    """
    image, colon, region = text.rpartition(":")
    if not (colon and image and region.isdecimal()):
        raise InputError(f"{text}: IMAGE:REGION is expected, such as test_00012:3 for the fourth region of an image.")
    return image, int(region)


def check_region(region: int, image: ImageRecord, regions: int) -> None:
    """Check that an image with so many ``regions`` has number ``region``.

    Raises:
        InputError: it has not.
    """
    if not 0 <= region < regions:
        objects = len(image.boxes)
        raise InputError(
            f"{image.file}: region {region} does not exist; there are {regions}, counted from 0: first the objects "
            f"({objects}), then the proposals, best first."
        )


def _by_id(wanted: str, images: Sequence[FoundImage]) -> list[FoundImage]:
    return [image for image in images if str(image.record.id) == wanted]


def _by_name(wanted: str, images: Sequence[FoundImage]) -> list[FoundImage]:
    def names(file: str) -> tuple[str, ...]:
        path = PurePosixPath(file)
        return file, path.name, path.stem

    return [image for image in images if wanted in names(image.record.file)]


def _by_part(wanted: str, images: Sequence[FoundImage]) -> list[FoundImage]:
    return [image for image in images if wanted and wanted.casefold() in image.record.file.casefold()]


def _listed(images: Sequence[FoundImage]) -> str:
    shown = [f"{PurePosixPath(image.record.file).name} (id {image.record.id})" for image in images[:LISTED]]
    more = [f"{len(images) - LISTED} more"] if len(images) > LISTED else []
    return ", ".join(shown + more)
