"""Bags of words, stage 1: k-means on patches of the training images; writes models/bow/vocabulary.safetensors."""

from pipeline.data.index import Index
from pipeline.stage import Stage, run
from pipeline.systems.bow.params import Bow
from pipeline.systems.bow.words import learn_vocabulary, sample_descriptors


def main(stage: Stage) -> None:
    words, seed = stage.section(Bow).words, stage.params.seed
    indices = [Index.load(stage.dep(f"data/index/{split}.json")) for split in stage.params.data.fit_splits]
    images = [image for index in indices for image in index.images]
    patches = sample_descriptors(images, stage.files, words, seed)
    learn_vocabulary(patches, words.vocabulary, seed).save(stage.out("models/bow/vocabulary.safetensors"))
    stage.finish(len(images), "image", patches=len(patches))


if __name__ == "__main__":
    run(main)
