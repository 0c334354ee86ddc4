"""Make a backbone: take published weights, or train on object crops; writes models/backbones/NETWORK.safetensors.

python -m stages.pretrain vgg16
"""

from pathlib import Path
from typing import cast

import torch

from pipeline.core.sections import Network, Pretrain
from pipeline.core.storage import sha256
from pipeline.data.images import ImageCache
from pipeline.data.index import Index
from pipeline.nets import weights
from pipeline.nets.backbones import architecture
from pipeline.pretraining import CropBatches, PyramidNetwork, accuracy, conv5_rms, pretrain
from pipeline.stage import Stage, run
from pipeline.training import Run, choice, publish_curves
from pipeline.training_images import training_images, validation_seed


def main(stage: Stage) -> None:
    network = cast(Network, stage.args[0])
    if stage.params.backbones[network].init == "random":
        train_on_crops(stage, network)
    else:
        take_published(stage, network)


def take_published(stage: Stage, network: Network) -> None:
    """Keep the published weights, with the size of the features that they give on this dataset."""
    given = stage.dep(stage.params.backbones[network].weights)
    file = given / f"{network}.safetensors" if given.is_dir() else given
    tensors = weights.published(file, network)
    conv = architecture(network).conv()
    weights.load_conv(conv, network, tensors)
    rms = conv5_rms(conv, training_files(stage), stage.device)
    target = stage.out(f"models/backbones/{network}.safetensors")
    weights.Backbone(tensors, rms, network=network, source=sha256(file)).save(target)
    print(f"{target}: published weights of {network} from {file}")
    stage.finish(0, "crop", steps=0, conv5_rms=round(rms, 3))


def train_on_crops(stage: Stage, network: Network) -> None:
    """Train a classifier of object crops and keep its convolutions, fc6 and fc7."""
    settings = stage.params.pretrain
    classifier, scores = train_network(stage, network, settings, "sizes")
    publish_curves(stage.scratch.folder / "sizes", stage.report / "curves")
    crops = settings.schedule.steps * settings.batch
    if settings.compare_single_size:
        alone = settings.model_copy(update={"sizes": (max(settings.sizes),)})
        _, single = train_network(stage, network, alone, "single_size")
        crops = 2 * crops
        scores |= {f"single_size_{name}": value for name, value in single.items()}
    rms = conv5_rms(classifier.features, training_files(stage), stage.device)
    kept = {name: tensor for name, tensor in classifier.state_dict().items() if not name.startswith("output.")}
    target = stage.out(f"models/backbones/{network}.safetensors")
    weights.Backbone(kept, rms, settings.pyramid, network, "pretrain").save(target)
    print(f"{target}: trained on object crops; held-out accuracy {scores}")
    kept_step = choice(stage.scratch.folder / "sizes")
    stage.finish(crops, "crop", steps=settings.schedule.steps, conv5_rms=round(rms, 3), **scores, **kept_step)


def train_network(
    stage: Stage, network: Network, settings: Pretrain, name: str
) -> tuple[PyramidNetwork, dict[str, float | None]]:
    """Return a classifier trained with ``settings`` and its held-out accuracy at each of `Pretrain.sizes`.

    ``name`` is that of its checkpoints.
    """
    p = stage.params
    index, val = (Index.load(stage.dep(f"data/index/{split}.json")) for split in ("train", "val"))
    torch.manual_seed(p.seed)
    classifier = PyramidNetwork(architecture(network), settings.pyramid, settings.fc_width, len(index.classes) + 1)
    fit(stage, classifier, settings, name)
    cache = ImageCache([stage.files / image.file for image in val.images], p.runtime.image_cache_mb)
    return classifier, {
        f"accuracy_{size}": accuracy(classifier, val.images, cache, size, stage.device) for size in p.pretrain.sizes
    }


def fit(stage: Stage, classifier: PyramidNetwork, settings: Pretrain, name: str) -> None:
    """Train ``classifier`` in place on crops of train; no image of this is held in memory afterwards."""
    p = stage.params
    images, held_out = training_images(
        settings.schedule,
        "pretrain.schedule",
        ("train",),
        lambda split: Index.load(stage.dep(f"data/index/{split}.json")),
        stage.files,
        p.runtime.image_cache_mb / p.training.processes,
    )
    crops = CropBatches(images.records, images.pixels, settings, p.seed)
    still = settings.model_copy(update={"flip": False})
    validation = (
        CropBatches(held_out.records, held_out.pixels, still, validation_seed(p.seed), jitter=0) if held_out else None
    )
    where: Run = {**stage.training, "scratch": stage.scratch.folder / name}
    pretrain(classifier, crops, settings, validation, **where)


def training_files(stage: Stage) -> list[Path]:
    """Return the images of the training split."""
    return [stage.files / image.file for image in Index.load(stage.dep("data/index/train.json")).images]


if __name__ == "__main__":
    run(main)
