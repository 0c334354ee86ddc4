"""What lies behind the page: how large the artifacts are, and which versions were installed."""

import platform
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "zarr", "h5py", "dvc")


@dataclass(frozen=True)
class Folder:
    """One folder of artifacts: the bytes of each entry in it by name, and of all."""

    name: str
    sizes: dict[str, int]

    @property
    def total(self) -> int:
        """Return the bytes of all entries."""
        return sum(self.sizes.values())


def folders(sizes: Mapping[str, int]) -> list[Folder]:
    """Return artifacts, given as bytes by path, by the folder and the entry that they lie in, both sorted."""
    entries: dict[str, Counter[str]] = defaultdict(Counter)
    for path in sorted(sizes):
        folder, entry = path.split("/")[:2]
        entries[folder][entry] += sizes[path]
    return [Folder(name, dict(of_folder)) for name, of_folder in entries.items()]


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
