"""HOG and SVMs, stage 1: cache the HOG pyramid of every image of a split; writes features/hog_svm/SPLIT.zarr.

python -m stages.hog_svm.pyramids train
"""

from pipeline.pyramid_stage import cache_split
from pipeline.stage import Stage, run
from pipeline.systems.hog_svm.params import HogSvm


def main(stage: Stage) -> None:
    cache_split(stage, "hog_svm", stage.section(HogSvm).hog)


if __name__ == "__main__":
    run(main)
