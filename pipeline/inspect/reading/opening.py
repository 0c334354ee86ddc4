"""Opening a cache to look at it; what cannot be looked at is told apart: missing, unfinished, of another program."""

from pathlib import Path

import zarr
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.features.cache import FeatureCache

SCRATCH = Path(".scratch")


def open_cache(path: Path, stage: str, scratch: Path = SCRATCH) -> FeatureCache:
    """Return the finished cache at ``path``.

    Args:
        path: of the zarr group.
        stage: which writes it, as ``dvc repro`` names it.
        scratch: where stages keep what is not finished.

    Raises:
        InputError: there is none, it is not finished, or it is not of this program; the sentence names the stage.
    """
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
            f"what made it); the stage {stage} writes one."
        )
    return cache


def shards_on_disk(array: zarr.Array) -> tuple[int, int]:
    """Return how many shards of an array exist and how many it has; absent ones would read as zeros."""
    rows = _shard(array)[0]
    root = Path(str(array.store_path.store.root)) / array.store_path.path
    expected = -(-array.shape[0] // rows)
    return sum((root / "c" / str(i) / "0").is_file() for i in range(expected)), expected


def stored_bytes(array: zarr.Array) -> int:
    """Return the bytes of an array's files."""
    root = Path(str(array.store_path.store.root)) / array.store_path.path
    return sum(file.stat().st_size for file in root.rglob("*") if file.is_file())


def _shard(array: zarr.Array) -> tuple[int, ...]:
    return array.shards or array.chunks


def _check_finished(path: Path, stage: str, scratch: Path) -> None:
    if (path.parent / "done").is_dir() and path.name == "cache.zarr":
        raise InputError(
            f"{path}: half-written, {_progress(path)}; dvc repro {stage} finishes it and moves it to its place."
        )
    if (path / "zarr.json").is_file():
        return
    started = sorted((scratch / stage.replace("@", "_")).glob("*/cache.zarr"))
    if started:
        raise InputError(
            f"{path}: not there yet, the stage {stage} was interrupted or is running ({_progress(started[0])} in "
            f"{started[0]}); dvc repro {stage} goes on from there."
        )


def _progress(unfinished: Path) -> str:
    done = len(list((unfinished.parent / "done").glob("*")))
    try:
        group = zarr.open_group(unfinished / "features", mode="r")
        array: NDArray = next(iter(group.arrays()))[1]
        return f"{done} of {-(-array.shape[0] // _shard(array)[0])} shards"
    except (ValueError, KeyError, OSError, StopIteration):
        return f"{done} shards"
