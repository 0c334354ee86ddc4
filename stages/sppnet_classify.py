"""SPP-net, full-image classification: pool whole cached maps, one linear SVM a class (SPP-net, section 3.3).

Reads features/sppnet/*.zarr and the index; writes models/sppnet_classifier.safetensors and
reports/metrics/sppnet_classification.json.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import params
from pipeline.core import runtime
from pipeline.core.storage import write_json
from pipeline.data.index import ImageRecord, Index
from pipeline.features.maps import MapCache
from pipeline.systems.sppnet.classify import classification_metrics, presence, train_image_svms, unit_norm
from pipeline.systems.sppnet.features import whole_images


def main() -> None:
    p = params.load()
    device = runtime.device(p.runtime.device)
    splits = (*p.data.fit_splits, "test")
    indices = {split: Index.load(Path(f"data/index/{split}.json")) for split in splits}
    maps = {split: MapCache(Path(f"features/sppnet/{split}.zarr"), f"sppnet_maps@{split}") for split in splits}
    for cache in maps.values():
        cache.check(maps["test"].fingerprint, maps["test"].path)
    features: dict[str, NDArray] = {
        split: unit_norm(whole_images(cache, p.sppnet.pyramid, device)) for split, cache in maps.items()
    }
    images: list[ImageRecord] = [image for split in p.data.fit_splits for image in indices[split].images]
    classes = len(indices["test"].classes)
    fitted = np.concatenate([features[split] for split in p.data.fit_splits])
    model = train_image_svms(fitted, presence(images, classes), p.sppnet.classify.C, p.seed)
    model.save(Path("models/sppnet_classifier.safetensors"))
    figures = classification_metrics(model(features["test"]), presence(indices["test"].images, classes))
    write_json(Path("reports/metrics/sppnet_classification.json"), figures)
    print(f"classification of whole images: {figures}")


if __name__ == "__main__":
    runtime.run(main)
