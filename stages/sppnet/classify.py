"""SPP-net, full-image classification: pool whole cached maps, one linear SVM a class (SPP-net, section 3.3).

Writes models/sppnet_classifier.safetensors.
"""

import numpy as np

from pipeline.data.index import Index
from pipeline.features.maps import MapCache
from pipeline.linear.classification import classification_metrics, presence, train_image_svms, unit_norm
from pipeline.stage import Stage, run
from pipeline.systems.sppnet.features import whole_images
from pipeline.systems.sppnet.params import Sppnet


def main(stage: Stage) -> None:
    p, sppnet = stage.params, stage.section(Sppnet)
    splits = (*p.data.fit_splits, "test")
    indices = {split: Index.load(stage.dep(f"data/index/{split}.json")) for split in splits}
    maps = {
        split: MapCache(stage.dep(f"features/sppnet/{split}.zarr"), f"systems/sppnet/dvc.yaml:maps@{split}")
        for split in splits
    }
    for cache in maps.values():
        cache.check(maps["test"].fingerprint, maps["test"].path)
    features = {split: unit_norm(whole_images(cache, sppnet.pyramid, stage.device)) for split, cache in maps.items()}
    images = [image for split in p.data.fit_splits for image in indices[split].images]
    classes = len(indices["test"].classes)
    fitted = np.concatenate([features[split] for split in p.data.fit_splits])
    model = train_image_svms(fitted, presence(images, classes), sppnet.classify.C, p.seed)
    model.save(stage.out("models/sppnet_classifier.safetensors"))
    figures = classification_metrics(model(features["test"]), presence(indices["test"].images, classes))
    print(f"classification of whole images: {figures}")
    stage.finish(len(images), "image", **figures)


if __name__ == "__main__":
    run(main)
