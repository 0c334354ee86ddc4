"""Where a cache is written: a stage's scratch folder, or a prefix of an object store (`pipeline.features.objects`)."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.core.errors import InputError
from pipeline.core.storage import PARTIAL, replace

# In a place: the cache while it is written, and a mark for each written shard, named by its first row.
CACHE, DONE = "cache.zarr", "done"

StoreLike = Any
"""What zarr opens: the path of a folder, or a `zarr.abc.store.Store`."""


class Place(Protocol):
    """Holds an unfinished cache and the marks of its written shards; small enough to travel to other processes."""

    @property
    def seen_by_all(self) -> tuple[Path, ...]:
        """Folders that each machine which writes shards must see."""

    def absolute(self) -> "Place":
        """Return the place as processes that run in other folders name it."""

    def begin(self, create: Callable[[StoreLike], None], raw_bytes: int, expected_bytes: int) -> None:
        """Keep what an interrupted writer finished here, or have ``create`` write a cache without shards.

        Raises:
            InputError: the place cannot be used, or has no room for ``expected_bytes``, ``raw_bytes`` uncompressed.
        """

    def done(self) -> set[int]:
        """Return the first rows of the written shards."""

    def has(self, start: int) -> bool:
        """Return whether the shard that starts at row ``start`` is written."""

    def shard(self, start: int) -> AbstractContextManager[StoreLike]:
        """Give the cache to write one shard to, which is marked as written at the end of the block."""

    def publish(self) -> Path:
        """Return the file or folder that is the finished cache; no shard can be written any more."""


@dataclass(frozen=True)
class Folder:
    """The scratch folder of a stage: a shard is a file for each column, its mark an empty one.

    Attributes:
        folder: the cache is ``folder / "cache.zarr"`` until it is published.
    """

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def path(self) -> Path:
        """Of the unfinished cache."""
        return self.folder / CACHE

    @property
    def seen_by_all(self) -> tuple[Path, ...]:
        """See `Place`."""
        return (self.folder,)

    def absolute(self) -> "Folder":
        """See `Place`."""
        return Folder(self.folder.absolute())

    def begin(self, create: Callable[[StoreLike], None], raw_bytes: int, expected_bytes: int) -> None:
        """See `Place`; only what is finished is kept."""
        if self._finished.is_dir():  # by a run that ended before it took the cache away
            replace(self._finished, self.path)
        if not (self._done.is_dir() and self.path.is_dir()):
            self._check_space(raw_bytes, expected_bytes)
            shutil.rmtree(self._done, ignore_errors=True)  # left behind when a finished cache was moved away
            create(self.path)
            self._done.mkdir()
        _remove_partial(self.path)

    def done(self) -> set[int]:
        """See `Place`."""
        # A listing: a mark that was asked for before another machine made it can stay unknown for a while.
        return {int(mark.name) for mark in self._done.iterdir()}

    def has(self, start: int) -> bool:
        """See `Place`."""
        return (self._done / str(start)).exists()

    @contextmanager
    def shard(self, start: int) -> Iterator[StoreLike]:
        """See `Place`; a cache that is published is gone, and zarr says so by a FileNotFoundError."""
        yield self.path
        with suppress(FileExistsError):
            (self._done / str(start)).touch(exist_ok=False)

    def publish(self) -> Path:
        """See `Place`.

        A worker that was taken for dead may write until the cache has another name; what it leaves there is removed.
        """
        self.path.rename(self._finished)
        _remove_partial(self._finished)
        return self._finished

    @property
    def _finished(self) -> Path:
        return self.folder / "finished.zarr"

    @property
    def _done(self) -> Path:
        return self.folder / DONE

    def _check_space(self, raw: int, expected: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if expected > free:
            raise InputError(
                f"{self.folder}: the feature cache needs about {expected / 1e9:.1f} GB ({raw / 1e9:.1f} GB before "
                f"compression), but the disk has {free / 1e9:.1f} GB free; fewer proposals or fewer layers would fit."
            )


def _remove_partial(cache: Path) -> None:
    """Remove what killed writers left."""
    for left in cache.rglob(f"*{PARTIAL}"):
        left.unlink(missing_ok=True)
