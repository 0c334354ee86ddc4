"""The files of a project that the views read, and how a person names a cache or an image.

Only the commands use this; the functions of the views get caches and indexes that are open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import InputError
from pipeline.core.storage import SCRATCH
from pipeline.data.index import SPLITS, ImageRecord, Index

if TYPE_CHECKING:
    import zarr

    from pipeline.features.cache import FeatureCache

# Candidates that a message lists.
LISTED = 6


def cache_path(system: str, split: str) -> Path:
    """Return the path of a system's cache of a split, whether it exists or not."""
    return Path(f"features/{system}/{split}.zarr")


def caches_of_split(split: str) -> list[Path]:
    """Return the caches of a split that exist, of all systems."""
    return sorted(Path("features").glob(f"*/{split}.zarr"))


def named_cache(text: str, split: str) -> tuple[Path, str | None]:
    """Return the path of the cache, and the layer where one is named, of ``rcnn``, ``sppnet:cells`` or ``PATH:fc7``."""
    from pipeline.registry import all_systems

    place, colon, layer = text.rpartition(":")
    if not colon or "/" in layer:  # a colon inside the path
        place, layer = text, ""
    return cache_path(place, split) if place in all_systems() else Path(place), layer or None


def stage_of(cache: Path) -> str:
    """Return the address for `dvc repro` of the stage that writes a cache: the one with an output in its folder.

    A path other than ``features/SYSTEM/SPLIT.zarr`` is taken for R-CNN's cache of the test split.
    """
    graph = Path("systems", cache.parent.name, "dvc.yaml")
    if not graph.is_file():
        graph = Path("systems/rcnn/dvc.yaml")
    split = cache.stem if cache.stem in SPLITS else "test"
    for name in _caching(graph):
        return f"{graph}:{name}@{split}"
    return str(graph)


def caches_features(system: str) -> bool:
    """Return whether the graph of the system has a stage that writes a cache."""
    return bool(_caching(Path("systems", system, "dvc.yaml")))


def _caching(graph: Path) -> list[str]:
    """Return the names of the stages of ``graph`` that write a cache."""
    folder = f"features/{graph.parent.name}/"
    return [name for name, stage in _stages(graph).items() if any(folder in str(out) for out in stage.get("outs", ()))]


def _stages(graph: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(graph)["stages"] if graph.is_file() else {}


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


# --- a cache that may be missing, unfinished or of another program ---------------------------------------------------


def open_cache(path: Path, scratch: Path = SCRATCH) -> "FeatureCache":
    """Return the finished cache at ``path``, a zarr group or a pointer to one on an object store.

    ``scratch`` is where stages keep unfinished ones.

    Raises:
        InputError: there is none, it is not finished, or it is not of this program; the sentence names the stage.
    """
    from pipeline.features.cache import FeatureCache

    stage = stage_of(path)
    _check_finished(path, stage, scratch)
    try:
        cache = FeatureCache(path, stage)
        layers = cache.layers()
    except (ValueError, KeyError, TypeError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a feature cache ({reason}); the stage {stage} writes one.") from error
    if not layers:
        raise InputError(f"{path}: not a feature cache (it holds no layer); the stage {stage} writes one.")
    if "fingerprint" not in cache.attributes or "system" not in cache.attributes:
        raise InputError(
            f"{path}: no cache of this program (its attributes name no system and no fingerprint, so nobody knows "
            f"how it was made); the stage {stage} writes one."
        )
    return cache


def open_cache_of(index: Index, path: Path) -> "FeatureCache":
    """Return the finished cache at ``path`` of the images of ``index``.

    Raises:
        InputError: as of `open_cache`, or the cache is of other images.
    """
    cache = open_cache(path)
    scales = len(cache.attributes.get("scales", (1,)))
    image_ids = cache.image_ids[::scales].tolist()
    if image_ids != [image.id for image in index.images]:
        raise InputError(
            f"{path}: its {len(image_ids)} images are not the {len(index.images)} of the index; "
            f"dvc repro {stage_of(path)} writes it anew."
        )
    return cache


def shards(array: "zarr.Array") -> tuple[int, int]:
    """Return how many shard files of an array exist and how many it has; an absent one reads as zeros."""
    rows = (array.shards or array.chunks)[0]
    return array.nchunks_initialized * array.chunks[0] // rows, -(-array.shape[0] // rows)


def _check_finished(path: Path, stage: str, scratch: Path) -> None:
    from pipeline.features.objects import unfinished

    if (path.parent / "done").is_dir() and path.name == "cache.zarr":
        raise InputError(
            f"{path}: half-written, {_progress(path)}; dvc repro {stage} finishes it and moves it to its place."
        )
    if path.is_file() or (path / "zarr.json").is_file():
        return
    folders = sorted(scratch.glob(f"{path.parent.name}_*_{path.stem}/*"))
    started = [f"{_progress(each)} in {each}" for folder in folders if (each := folder / "cache.zarr").is_dir()]
    started += [f"{len(each.done())} shards in {each}" for each in map(unfinished, folders) if each is not None]
    if started:
        raise InputError(
            f"{path}: not there yet, the stage {stage} was interrupted or is running ({started[0]}); dvc repro {stage} "
            f"goes on from there."
        )


def _progress(unfinished: Path) -> str:
    import zarr

    done = len(list((unfinished.parent / "done").glob("*")))
    try:
        _, array = next(iter(zarr.open_group(unfinished / "features", mode="r").arrays()))
    except (ValueError, KeyError, OSError, StopIteration):
        return f"{done} shards"
    return f"{done} of {shards(array)[1]} shards"


# --- an image by its id, its file name, or a part of that name -------------------------------------------------------


@dataclass(frozen=True)
class IndexedImage:
    """An image of a dataset: its split, its position in that split's index, and its record there."""

    split: str
    position: int
    record: ImageRecord


def image_of_project(wanted: str) -> tuple[IndexedImage, Index]:
    """Return the image of any split that ``wanted`` names (`find_image`), and the index of its split.

    Raises:
        InputError: as of `find_image`, or an index is missing.
    """
    indexes = {split: load_index(split) for split in SPLITS}
    image = find_image(wanted, indexes)
    return image, indexes[image.split]


def find_image(wanted: str, indexes: Mapping[str, Index]) -> IndexedImage:
    """Return the image that ``wanted`` names among those of all ``indexes``, which are named by their splits.

    An id goes before a file name (with or without folders and suffix), and that before a part of one.

    Raises:
        InputError: ``wanted`` names no image, or several; the sentence lists candidates.
    """
    images = [
        IndexedImage(split, position, record)
        for split, index in indexes.items()
        for position, record in enumerate(index.images)
    ]
    by_id = [image for image in images if str(image.record.id) == wanted]
    by_name = [image for image in images if wanted in _names(image.record.file)]
    by_part = [image for image in images if wanted and wanted.casefold() in image.record.file.casefold()]
    candidates = by_id or by_name or by_part
    if not candidates:
        raise InputError(
            f"{wanted}: no image of {', '.join(indexes)} has this id or this in its file name; "
            f"there are {_listed(images) if images else 'none'}."
        )
    if len(candidates) > 1:
        raise InputError(
            f"{wanted}: {len(candidates)} images match, {_listed(candidates)}; an id or more of a name would name one."
        )
    return candidates[0]


def _names(file: str) -> tuple[str, str, str]:
    path = PurePosixPath(file)
    return file, path.name, path.stem


def _listed(images: Sequence[IndexedImage]) -> str:
    names = [f"{PurePosixPath(image.record.file).name} (id {image.record.id})" for image in images[:LISTED]]
    more = [f"{len(images) - LISTED} more"] if len(images) > LISTED else []
    return ", ".join(names + more)
