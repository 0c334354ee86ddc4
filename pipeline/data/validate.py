"""Checking any folder as a dataset, without a parameter: which layout is it, and would a run accept it?"""

from itertools import chain
from pathlib import Path

from pipeline.data.coco import CocoPart, load_coco, read_coco
from pipeline.data.dataset import build
from pipeline.data.index import SPLITS
from pipeline.data.report import Report
from pipeline.data.source import Source
from pipeline.data.voc import find_voc, read_voc
from pipeline.errors import InputError
from pipeline.params.data import SplitShares

SHARES = SplitShares(val=0.2, test=0.2)
SEED = 1


def validate(folder: Path, workers: int = 0) -> Report:
    """Read ``folder``, a dataset in the layout of VOC or COCO, with all checks; nothing is written.

    Splits that the dataset does not name are made with shares of 0.2. A folder that is no dataset gives a report with
    that as its problem: nothing is raised.
    """
    report = Report()
    try:
        build(_read(folder, report), folder, None, False, workers, report)
    except InputError as error:
        if report.ok:
            report.problems.append(str(error))
    return report


def _read(folder: Path, report: Report) -> Source:
    try:
        voc = find_voc(folder)
    except InputError:
        if parts := find_coco(folder):
            return read_coco(folder, parts, SHARES, SEED, report)
        raise
    return read_voc(folder, voc, SHARES, SEED, report)


def find_coco(folder: Path) -> list[CocoPart]:
    """Find the COCO files of a folder, at most one level deep, and the folders of their images.

    Where files of several kinds lie together, those called ``instances`` count, as COCO calls its boxes. The images'
    folder is that in which the first image of the file lies. A file whose path names one split alone is
    that split; any other is taken as a whole dataset.
    """
    parts = []
    for path in sorted(chain(folder.glob("*.json"), folder.glob("*/*.json"))):
        name = path.relative_to(folder).as_posix()
        try:
            content = load_coco(path, name)
        except InputError:
            continue
        named = [split for split in SPLITS if split in name.lower()]
        first = next((str(image.get("file_name")) for image in content["images"]), "")
        places = [folder, path.parent, *sorted(place for place in folder.glob("**/") if place != folder)]
        images = next((place for place in places if (place / first).is_file()), path.parent)
        parts.append(CocoPart(name, images.relative_to(folder).as_posix(), named[0] if len(named) == 1 else None))
    return [part for part in parts if "instances" in part.annotations] or parts
