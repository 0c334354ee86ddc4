"""Bags of words, whole images: spatial pyramid matching at each number of levels up to that of the parameters."""

import numpy as np

from pipeline.data.index import Index
from pipeline.linear.classification import classification_metrics, presence
from pipeline.stage import Stage, run
from pipeline.systems.bow.cache import WordCache
from pipeline.systems.bow.params import Bow
from pipeline.systems.bow.pyramid import image_histogram, image_scores


def main(stage: Stage) -> None:
    p, bow = stage.params, stage.section(Bow)
    splits, settings = p.data.fit_splits, bow.classify
    indices = {split: Index.load(stage.dep(f"data/index/{split}.json")) for split in (*splits, "test")}
    caches = {
        split: WordCache(stage.dep(f"features/bow/{split}.zarr"), index, bow.words) for split, index in indices.items()
    }
    shown = {split: presence(index.images, len(index.classes)) for split, index in indices.items()}
    truth = np.concatenate([shown[split] for split in splits])
    figures = {}
    for levels in range(settings.levels + 1):
        histograms = {
            split: np.stack(
                [image_histogram(words, grid, bow.words.vocabulary, levels) for words, grid in cache.images()]
            )
            for split, cache in caches.items()
        }
        fitted = np.concatenate([histograms[split] for split in splits])
        scores = image_scores(fitted, truth, histograms["test"], settings, p.seed)
        figures[f"levels_{levels}"] = classification_metrics(scores, shown["test"])
        print(f"levels 0 to {levels}: {figures[f'levels_{levels}']}")
    stage.finish(len(truth), "image", **figures[f"levels_{settings.levels}"], **figures)


if __name__ == "__main__":
    run(main)
