"""Bags of words, stage 2: the word of every patch of a split; writes features/bow/SPLIT.zarr.

python -m stages.bow.words train
"""

from pipeline.core.storage import fingerprint, replace, sha256
from pipeline.data.index import Index
from pipeline.features.objects import place_of
from pipeline.stage import Stage, run
from pipeline.systems.bow.cache import cache_words
from pipeline.systems.bow.params import Bow
from pipeline.systems.bow.words import Vocabulary


def main(stage: Stage) -> None:
    (split,) = stage.args
    settings = stage.section(Bow).words
    index = Index.load(stage.dep(f"data/index/{split}.json"))
    file = stage.dep("models/bow/vocabulary.safetensors")
    origin = {"grid": settings.model_dump(include={"step", "patch", "longest"}), "vocabulary": sha256(file)}
    cache = cache_words(
        index.images,
        stage.files,
        settings,
        Vocabulary.load(file),
        place=place_of(stage.params.runtime.store, stage.scratch.folder, stage.fingerprint, None),
        workers=stage.workers,
        attributes={"system": "bow", **origin, "fingerprint": fingerprint(**origin)},
        title=f"finding words, {split}",
    )
    replace(cache, stage.out(f"features/bow/{split}.zarr"))
    stage.finish(len(index.images), "image")


if __name__ == "__main__":
    run(main)
