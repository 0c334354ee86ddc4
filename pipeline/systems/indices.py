"""The indices of the images that a system was trained on, as rooms read them for their limits."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.data.index import Index


def load_indices(splits: Sequence[str]) -> list[Index]:
    """Read the indices of ``splits`` where the stage `index` left them."""
    return [Index.load(Path(f"data/index/{split}.json")) for split in splits]
