"""The six systems: the names used in stages, paths, params and commands, and what a person reads instead."""

from dataclasses import dataclass

from pipeline.errors import InputError


@dataclass(frozen=True)
class System:
    """One detector: its name in files and commands, its name in print, its paper."""

    name: str
    title: str
    paper: str
    year: int


SYSTEMS = {
    system.name: system
    for system in (
        System("rcnn", "R-CNN", "Girshick et al., CVPR", 2014),
        System("sppnet", "SPP-net", "He et al., ECCV", 2014),
        System("fast_rcnn", "Fast R-CNN", "Girshick, ICCV", 2015),
        System("faster_rcnn", "Faster R-CNN", "Ren et al., NIPS", 2015),
        System("yolo", "YOLO v1", "Redmon et al., CVPR", 2016),
        System("ssd", "SSD", "Liu et al., ECCV", 2016),
    )
}


def parse_system(arguments: list[str]) -> System:
    """Return the system that a stage's command line names.

    Raises:
        InputError: there is not exactly one argument, or it is no system's name.
    """
    if len(arguments) != 1 or arguments[0] not in SYSTEMS:
        found = " ".join(arguments) or "nothing"
        raise InputError(f"the argument: found {found!r}, expected one of {', '.join(SYSTEMS)}.")
    return SYSTEMS[arguments[0]]
