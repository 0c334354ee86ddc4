"""Deformable part models, stage 1: cache the HOG pyramid of every image of a split; writes features/dpm/SPLIT.zarr.

python -m stages.dpm.pyramids train
"""

from pipeline.core.cluster import cluster
from pipeline.core.storage import replace
from pipeline.data.index import Index
from pipeline.features.hog_pyramid import cache_pyramids, pyramid_entries
from pipeline.features.objects import place_of
from pipeline.stage import Stage, run
from pipeline.systems.dpm.params import Dpm


def main(stage: Stage) -> None:
    (split,) = stage.args
    settings = stage.section(Dpm).hog
    images = Index.load(stage.dep(f"data/index/{split}.json")).images
    layout = pyramid_entries(
        [image.id for image in images],
        [stage.files / image.file for image in images],
        [(image.width, image.height) for image in images],
        settings,
    )
    where = stage.params.runtime.cluster
    place = place_of(stage.params.runtime.store, stage.scratch.folder, stage.fingerprint, stage.device)
    with cluster(where, stage.workers, [*place.seen_by_all, *layout.files[:1]]) as executor:
        cache = cache_pyramids(
            layout,
            settings,
            place=place,
            workers=stage.workers,
            attributes={"system": "dpm"},
            title=f"caching HOG pyramids, {split}",
            executor=executor,
        )
    replace(cache, stage.out(f"features/dpm/{split}.zarr"))
    stage.finish(len(images), "image")


if __name__ == "__main__":
    run(main)
