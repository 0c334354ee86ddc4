"""Proposals of one split as an HDF5 file, for boxes made here and for imported ones alike.

The format, for those who import their own:

- ``boxes``: ``(N, 4)`` float32, ``x1 y1 x2 y2`` in pixels, 0-based and half-open (a box over the whole image is
  ``0 0 width height``), inside the image, with positive sides; all boxes of the first image, best first, then all
  of the second, and so on.
- ``offsets``: ``(images + 1,)`` int64, from 0 to N: boxes ``offsets[i]`` up to ``offsets[i + 1]`` are image i's.
- ``image_ids``: ``(images,)`` int64, the ids of ``data/index/{split}.json`` in the order of that file.
- attributes of the file: ``engine``, a name, and ``settings``, JSON; both are for people and may say anything.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, as_boxes
from pipeline.core.errors import InputError
from pipeline.core.storage import atomic
from pipeline.data.index import Index

_LAYOUT = {"boxes": ("float32", 2), "offsets": ("int64", 1), "image_ids": ("int64", 1)}


@dataclass(frozen=True, eq=False)
class ProposalSet:
    """The proposals of one split.

    Attributes:
        boxes: ``(N, 4)`` float32, the project's box format; image after image, best first within an image.
        offsets: ``(images + 1,)`` int64; boxes ``offsets[i]`` up to ``offsets[i + 1]`` belong to image ``i``.
        image_ids: ``(images,)`` int64, in the order of the index.
        engine: name of their maker.
        settings: of the engine, as JSON values.
    """

    boxes: Boxes
    offsets: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    engine: str
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def join(
        cls, per_image: Sequence[Boxes], image_ids: Sequence[int], engine: str, settings: dict[str, Any]
    ) -> "ProposalSet":
        """Put the boxes of several images, one array for each id, one after another."""
        counts = np.array([len(boxes) for boxes in per_image], np.int64)
        return cls(
            boxes=np.concatenate([as_boxes([]), *per_image]),
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            image_ids=np.asarray(image_ids, np.int64),
            engine=engine,
            settings=settings,
        )

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, position: int) -> Boxes:
        """Return the boxes of the image at ``position`` of the index, best first."""
        if not 0 <= position < len(self):
            raise IndexError(position)
        return self.boxes[self.offsets[position] : self.offsets[position + 1]]

    def __iter__(self) -> Iterator[Boxes]:
        return (self[position] for position in range(len(self)))

    def boxes_of(self, image_id: int) -> Boxes:
        """Return the boxes of the image with this id, best first.

        Raises:
            KeyError: no image has this id.
        """
        positions = np.flatnonzero(self.image_ids == image_id)
        if len(positions) == 0:
            raise KeyError(image_id)
        return self[int(positions[0])]

    def save(self, path: Path) -> None:
        """Write the file at once or not at all; the same proposals give the same bytes."""
        with atomic(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
            for name in _LAYOUT:
                file.create_dataset(name, data=getattr(self, name), track_times=False)
            file.attrs["engine"] = self.engine
            file.attrs["settings"] = json.dumps(self.settings, sort_keys=True)

    @classmethod
    def load(cls, path: Path, index: Index | None = None) -> "ProposalSet":
        """Read a file that `save`, or anybody else, wrote in this module's format.

        Args:
            path: the file.
            index: the images that the proposals must belong to; without it only the file itself is checked.

        Raises:
            InputError: the file is missing, is not of this format, or belongs to other images.
        """
        if not path.is_file():
            raise InputError(
                f"{path}: there are no proposals; the stage proposals writes them (dvc repro proposals@{path.stem})."
            )
        try:
            with h5py.File(path, "r") as file:
                arrays = {name: _read(path, file, name) for name in _LAYOUT}
                engine, settings = str(file.attrs.get("engine", "unknown")), str(file.attrs.get("settings", "{}"))
        except OSError as error:
            raise InputError(f"{path}: cannot be read as HDF5 ({error}); dvc repro writes it anew.") from error
        proposals = cls(**arrays, engine=engine, settings=_settings(path, settings))
        _check(path, proposals)
        if index is not None:
            _check_index(path, proposals, index)
        return proposals


def _read(path: Path, file: Any, name: str) -> NDArray[Any]:
    dtype, dimensions = _LAYOUT[name]
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise InputError(f"{path}: holds no dataset {name!r}; a proposals file has boxes, offsets and image_ids.")
    if dataset.dtype != dtype or dataset.ndim != dimensions:
        actual = f"{dataset.dtype} with {dataset.ndim} dimensions"
        raise InputError(f"{path}: {name} is {actual}; it must be {dtype} with {dimensions}.")
    return dataset[()]


def _settings(path: Path, text: str) -> dict[str, Any]:
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: the attribute settings is not JSON ({error}).") from error
    return settings if isinstance(settings, dict) else {"settings": settings}


def _check(path: Path, proposals: ProposalSet) -> None:
    """Check all that needs no index: shapes, offsets, finite boxes with positive sides."""
    boxes, offsets = proposals.boxes, proposals.offsets
    if boxes.shape[1] != 4:
        raise InputError(f"{path}: boxes has {boxes.shape[1]} columns; it must have 4, x1 y1 x2 y2.")
    if len(offsets) != len(proposals) + 1:
        raise InputError(f"{path}: {len(proposals)} image_ids need {len(proposals) + 1} offsets, not {len(offsets)}.")
    if offsets[0] != 0 or offsets[-1] != len(boxes) or (np.diff(offsets) < 0).any():
        raise InputError(f"{path}: offsets must rise from 0 to the number of boxes, {len(boxes)}.")
    if len(np.unique(proposals.image_ids)) < len(proposals):
        raise InputError(f"{path}: image_ids names an image twice; each has one run of boxes.")
    bad = np.flatnonzero(~(np.isfinite(boxes).all(axis=1) & (boxes[:, :2] < boxes[:, 2:]).all(axis=1)))
    if len(bad):
        raise InputError(f"{path}: box {bad[0]} is {boxes[bad[0]].tolist()}; it must be finite with x1 < x2, y1 < y2.")


def _check_index(path: Path, proposals: ProposalSet, index: Index) -> None:
    """Check that the images are the index's, in its order, and that every box lies inside its image."""
    if proposals.image_ids.tolist() != [image.id for image in index.images]:
        raise InputError(
            f"{path}: its {len(proposals)} image_ids are not the {len(index.images)} ids of the index, in its order; "
            f"dvc repro proposals@{path.stem} makes proposals for the present index."
        )
    sizes = np.array([(image.width, image.height) for image in index.images], np.float32).reshape(-1, 2)
    limits = np.repeat(sizes, np.diff(proposals.offsets), axis=0)
    outside = np.flatnonzero((proposals.boxes[:, :2] < 0).any(axis=1) | (proposals.boxes[:, 2:] > limits).any(axis=1))
    if len(outside):
        image = index.images[int(np.searchsorted(proposals.offsets, outside[0], side="right")) - 1]
        raise InputError(
            f"{path}: box {outside[0]}, {proposals.boxes[outside[0]].tolist()}, reaches out of its image {image.file} "
            f"of {image.width} x {image.height} pixels."
        )
