"""What training would make of a dataset's objects with given parameters: the share that each system can reach.

Each system says so of itself (`pipeline.registry.System.reach`); selective search, which several use, is tried here.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.dataset import LARGE
from pipeline.data.index import Index
from pipeline.evaluation.recall import cover, recall
from pipeline.params import Params
from pipeline.params import load as load_params
from pipeline.presets import params_of, read
from pipeline.proposals.extract import extract
from pipeline.reach import Reach
from pipeline.registry import all_systems

# Training images that shares are taken of, and those that are searched for regions, some seconds each.
MOST_IMAGES, SEARCHED = 2000, 16
PARAMS_FILE = Path("params.yaml")
PRESET = "folder"


@dataclass(frozen=True)
class Reached:
    """All shares.

    Attributes:
        parameters: which ones, such as ``params.yaml``.
        images: number of training images that they are taken of.
        of_all: number of all training images.
        searched: number of images that were searched for regions.
        proposals: shares of selective search; none where no image was searched.
        systems: by the title of each system that `systems` lists; those that say nothing are left out.
    """

    parameters: str
    images: int
    of_all: int
    searched: int
    proposals: list[Reach]
    systems: dict[str, list[Reach]]


def chosen_params(folder: Path, presets: Path) -> tuple[Params, str]:
    """Return ``params.yaml`` where its ``data.root`` is ``folder``, else the preset ``folder``; and which it is.

    Raises:
        InputError: neither can be read.
    """
    if PARAMS_FILE.is_file():
        params = load_params(PARAMS_FILE)
        if Path(params.data.root).resolve() == folder.resolve():
            return params, str(PARAMS_FILE)
    return params_of(read(presets, PRESET), PRESET), f"the preset {PRESET}"


def training_indices(params: Params, splits: Mapping[str, Index]) -> list[Index]:
    """Return the splits that training fits on."""
    return [splits[split] for split in params.data.fit_splits]


def sample(indices: Sequence[Index], most: int) -> list[Index]:
    """Return ``most`` images of ``indices`` or fewer, evenly spread."""
    share = min(1.0, most / max(1, sum(len(index.images) for index in indices)))
    return [Index(index.classes, tuple(index.spread(int(share * len(index.images))))) for index in indices]


def measure(params: Params, parameters: str, splits: Mapping[str, Index], root: Path) -> Reached:
    """Return all shares of the objects that train.

    Args:
        params: what is asked about.
        parameters: what they are called, for print.
        splits: the indices of the dataset.
        root: the folder below which they name their files.

    Raises:
        InputError: an image cannot be read.
    """
    indices = training_indices(params, splits)
    counted = sample(indices, MOST_IMAGES)
    searched, proposals = proposal_reach(params, indices, root)
    return Reached(
        parameters=parameters,
        images=sum(len(index.images) for index in counted),
        of_all=sum(len(index.images) for index in indices),
        searched=searched,
        proposals=proposals,
        systems={title: found for title, found in system_reach(params, counted).items() if found},
    )


def system_reach(params: Params, indices: Sequence[Index]) -> dict[str, list[Reach]]:
    """Return the shares of each of ``params.systems``, by its title."""
    systems = [all_systems()[name] for name in params.systems]
    return {system.title: system.reach(params, indices) for system in systems}


def proposal_reach(params: Params, indices: Sequence[Index], root: Path) -> tuple[int, list[Reach]]:
    """Return how many images were searched for regions, and the shares of their objects that regions overlap.

    Images of more than `LARGE` pixels are passed over: one may take minutes.
    """
    usable = (image for index in indices for image in index.images if image.width * image.height <= LARGE)
    classes = indices[0].classes
    searched = Index(classes, tuple(Index(classes, tuple(usable)).spread(SEARCHED)))
    if not searched.images:
        return 0, []
    with tempfile.TemporaryDirectory() as scratch:
        found = extract(searched, root, params.proposals, params.runtime.workers, Path(scratch))
    overlaps = cover(searched, found, [params.proposals.max_per_image]).overlaps[-1]
    advice = (
        "more regions (proposals.max_per_image), a smaller proposals.min_side, a larger proposals.max_width, or the "
        "engine opencv"
    )
    return len(searched.images), [
        Reach(f"are overlapped by {least} or more by a region", recall(overlaps, least), "proposals", advice, judged)
        for least, judged in ((0.5, True), (0.7, False))
    ]
