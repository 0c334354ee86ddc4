"""OverFeat, classification: which classes an image shows, by the best window of each (section 3.3)."""

from pipeline.core.runtime import progress
from pipeline.data.images import read_image
from pipeline.data.index import Index
from pipeline.linear.classification import classification_metrics, presence
from pipeline.nets.backbones import channels_last
from pipeline.stage import Stage, run
from pipeline.systems.overfeat.classification import image_scores
from pipeline.systems.overfeat.network import Overfeat
from pipeline.systems.overfeat.params import Overfeat as OverfeatParams


def main(stage: Stage) -> None:
    index = Index.load(stage.dep("data/index/test.json"))
    saved = Overfeat.load(stage.dep("models/overfeat/classifier.safetensors"), "systems/overfeat/dvc.yaml:train")
    network = channels_last(saved, stage.device).eval()
    files = progress((stage.files / image.file for image in index.images), "classifying", total=len(index.images))
    images = (read_image(file) for file in files)
    scores = image_scores(network, images, stage.device, mirrored=stage.section(OverfeatParams).train.augment.flip)
    figures = classification_metrics(scores, presence(index.images, len(index.classes)))
    print(f"classification of whole images: {figures}")
    stage.finish(len(index.images), "image", **figures)


if __name__ == "__main__":
    run(main)
