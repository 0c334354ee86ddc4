"""Deformable part models, stage 1: cache the HOG pyramid of every image of a split; writes features/dpm/SPLIT.zarr.

python -m stages.dpm.pyramids train
"""

from pipeline.pyramid_stage import cache_split
from pipeline.stage import Stage, run
from pipeline.systems.dpm.params import Dpm


def main(stage: Stage) -> None:
    cache_split(stage, "dpm", stage.section(Dpm).hog)


if __name__ == "__main__":
    run(main)
