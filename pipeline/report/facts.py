"""What lies behind the page: how large the artifacts are, and which versions were installed."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "zarr", "h5py", "dvc")


@dataclass(frozen=True)
class Folder:
    """One folder of artifacts: the bytes of each by path, and of all."""

    name: str
    sizes: dict[str, int]

    @property
    def total(self) -> int:
        """Return the bytes of all artifacts."""
        return sum(self.sizes.values())


def folders(sizes: Mapping[str, int]) -> list[Folder]:
    """Return artifacts, given as bytes by path, below the first part of their path, both sorted."""
    grouped = groupby(sorted(sizes), key=lambda path: path.split("/")[0])
    return [Folder(name, {path: sizes[path] for path in paths}) for name, paths in grouped]


def versions() -> dict[str, str]:
    """Return what this process runs with: Python and the installed `PACKAGES`, none of which is imported for that."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def size(count: int) -> str:
    """Return bytes for print, in kB, MB or GB of a thousand each."""
    for unit, least in (("GB", 1e9), ("MB", 1e6)):
        if count >= 0.9995 * least:
            return f"{count / least:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
