"""Make or download the dataset of a built-in source; reads nothing, writes data/fetched.

The user's own folder is neither copied nor changed: data/fetched then holds one line that says so. Downloads are kept
in .scratch/fetch, where a killed run finds what had arrived.
"""

from pathlib import Path

from pipeline import params
from pipeline.core import runtime
from pipeline.core.errors import InputError
from pipeline.core.storage import atomic
from pipeline.data.digits import write_digits
from pipeline.data.download import ARCHIVES, fetch_voc

FETCHED = Path("data/fetched")
DOWNLOADS = Path(".scratch/fetch")


def main() -> None:
    p = params.load()
    source, root = p.data.source, Path(p.data.root)
    if (source == "digits" and root != FETCHED) or (source in ("voc", "coco") and root == FETCHED):
        right = FETCHED if source == "digits" else "the folder with your images and annotations"
        raise InputError(f"params.yaml: data.root is {p.data.root}; with source {source} it must be {right}.")
    with atomic(FETCHED) as folder:
        if source == "digits":
            write_digits(folder, p.data.digits, p.seed)
        elif root == FETCHED and (source == "voc2007" or source == "voc2012"):
            fetch_voc(folder, ARCHIVES[source], DOWNLOADS, p.data.mirror)
        else:
            folder.mkdir()
            text = "Nothing was fetched: the dataset is the folder that data.root in params.yaml names.\n"
            (folder / "README.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    runtime.run(main)
