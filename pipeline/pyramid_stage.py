"""What the stages that cache HOG pyramids have in common: all but the system."""

from pipeline.core.cluster import cluster
from pipeline.core.sections import Hog
from pipeline.core.storage import replace
from pipeline.data.index import Index
from pipeline.features.hog_pyramid import cache_pyramids, pyramid_entries
from pipeline.features.objects import place_of
from pipeline.stage import Stage


def cache_split(stage: Stage, system: str, settings: Hog) -> None:
    """Write ``features/SYSTEM/SPLIT.zarr``, the HOG pyramids of the images of the split that ``stage`` is called with.

    Raises:
        InputError: an image cannot be read, or the place or the cluster cannot be used.
    """
    (split,) = stage.args
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
            attributes={"system": system},
            title=f"caching HOG pyramids, {split}",
            executor=executor,
        )
    replace(cache, stage.out(f"features/{system}/{split}.zarr"))
    stage.finish(len(images), "image")
