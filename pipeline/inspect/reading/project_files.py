"""Where a project keeps what the views look at; only the commands use this, the views get what they need."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.data.index import SPLITS, Index

STAGES = {"rcnn": "rcnn_features", "sppnet": "sppnet_maps"}


@dataclass(frozen=True)
class CacheFile:
    """A cache: its path, the system and the split that it belongs to, and the stage that writes it."""

    path: Path
    system: str
    split: str

    @property
    def stage(self) -> str:
        """Return the name that ``dvc repro`` knows."""
        return f"{STAGES[self.system]}@{self.split}"


def cache_file(system: str, split: str) -> CacheFile:
    """Return the cache of a system and a split, whether it exists or not."""
    return CacheFile(Path(f"features/{system}/{split}.zarr"), system, split)


def load_index(split: str) -> Index:
    """Return the images of a split.

    Raises:
        InputError: there is no index.
    """
    path = Path(f"data/index/{split}.json")
    if not path.is_file():
        raise InputError(f"{path}: the file does not exist; the stage index writes it (dvc repro index).")
    return Index.load(path)


def image_root() -> Path:
    """Return the folder that the index's file names are relative to.

    Raises:
        InputError: there is no readable ``params.yaml``.
    """
    from pipeline import params

    return Path(params.load().data.root)


def svm_file(system: str) -> Path:
    """Return where a system's SVMs are."""
    return Path(f"models/{system}/svm.safetensors")


def caches_of(system: str | None, split: str) -> list[CacheFile]:
    """Return a system's cache of a split; without a system those that exist, or R-CNN's where none does."""
    if system is not None:
        return [cache_file(system, split)]
    found = [file for name in STAGES if (file := cache_file(name, split)).path.is_dir()]
    return found or [cache_file("rcnn", split)]


def cache_named(text: str, split: str) -> tuple[CacheFile, str | None]:
    """Return the cache, and the layer where one is named, of ``rcnn``, ``sppnet:cells`` or ``PATH.zarr:fc7``.

    A path that does not say whose it is, as ``features/SYSTEM/SPLIT.zarr`` does, is taken for R-CNN's test cache.
    """
    place, colon, layer = text.rpartition(":")
    if not colon or "/" in layer:  # a colon inside the path
        place, layer = text, ""
    if place in STAGES:
        return cache_file(place, split), layer or None
    path = Path(place)
    system = path.parent.name if path.parent.name in STAGES else "rcnn"
    return CacheFile(path, system, path.stem if path.stem in SPLITS else "test"), layer or None


def class_names(split: str) -> tuple[str, ...]:
    """Return the names of the classes, none where there is no index."""
    path = Path(f"data/index/{split}.json")
    return Index.load(path).classes if path.is_file() else ()
