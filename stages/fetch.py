"""Make or download the dataset of a built-in source; reads nothing, writes data/fetched.

The user's own folder is neither copied nor changed: data/fetched then holds one line that says so. Downloads are kept
in .scratch/fetch, where a killed run finds what had arrived.
"""

from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.core.storage import atomic
from pipeline.data.digits import write_digits
from pipeline.data.download import ARCHIVES, fetch_voc
from pipeline.stage import Stage, run

DOWNLOADS = Path(".scratch/fetch")


def main(stage: Stage) -> None:
    data, fetched = stage.params.data, stage.out("data/fetched")
    source, root = data.source, stage.files
    made = source == "digits" or source in ARCHIVES
    if (source == "digits" and root != fetched) or (not made and root == fetched):
        right = fetched if source == "digits" else "the folder with your images and annotations"
        raise InputError(f"params.yaml: data.root is {root}; with source {source} it must be {right}.")
    with atomic(fetched) as folder:
        if source == "digits":
            write_digits(folder, data.digits, data.seed)
        elif root == fetched and source in ARCHIVES:
            fetch_voc(folder, ARCHIVES[source], DOWNLOADS, data.mirror)
        else:
            folder.mkdir()
            text = "Nothing was fetched: the dataset is the folder that data.root in params.yaml names.\n"
            (folder / "README.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(main)
