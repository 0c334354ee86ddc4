"""Make the backbone: take published weights, or train on object crops; writes models/backbone.safetensors."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.core.sections import Pretrain
from pipeline.core.storage import sha256
from pipeline.data.images import ImageCache
from pipeline.data.index import Index
from pipeline.nets import weights
from pipeline.nets.backbones import architecture
from pipeline.pretraining import CropBatches, PyramidNetwork, accuracy, conv5_rms, pretrain
from pipeline.stage import Stage, run
from pipeline.training import Run, publish_curves


def main(stage: Stage) -> None:
    given = Path(stage.params.backbone.weights)
    file = given / "backbone.safetensors" if given.is_dir() else given
    if given.is_dir() and not file.is_file():
        train_on_crops(stage)
    else:
        take_published(stage, file)


def take_published(stage: Stage, file: Path) -> None:
    """Keep the published weights in ``file``, with the size of the features that they give on this dataset."""
    network = stage.params.backbone.network
    tensors = weights.published(file, network)
    conv = architecture(network).conv()
    weights.load_conv(conv, network, tensors)
    rms = conv5_rms(conv, training_files(stage), stage.device)
    target = stage.out("models/backbone.safetensors")
    weights.Backbone(tensors, rms, network=network, source=sha256(file)).save(target)
    print(f"{target}: published weights of {network} from {file}")
    stage.finish(0, "crop", steps=0, conv5_rms=round(rms, 3))


def train_on_crops(stage: Stage) -> None:
    """Train a classifier of object crops and keep its convolutions, fc6 and fc7."""
    p, settings = stage.params, stage.params.pretrain
    network, scores = train_network(stage, settings, settings.sizes, "sizes")
    publish_curves(stage.scratch.folder / "sizes", stage.report / "curves")
    crops = settings.schedule.steps * settings.batch
    if settings.compare_single_size:
        alone = settings.model_copy(update={"sizes": (max(settings.sizes),)})
        _, single = train_network(stage, alone, settings.sizes, "single_size")
        crops = 2 * crops
        scores |= {f"single_size_{name}": value for name, value in single.items()}
    rms = conv5_rms(network.features, training_files(stage), stage.device)
    kept = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("output.")}
    target = stage.out("models/backbone.safetensors")
    weights.Backbone(kept, rms, settings.pyramid, p.backbone.network, "pretrain").save(target)
    print(f"{target}: trained on object crops; held-out accuracy {scores}")
    stage.finish(crops, "crop", steps=settings.schedule.steps, conv5_rms=round(rms, 3), **scores)


def train_network(
    stage: Stage, settings: Pretrain, sizes: Sequence[int], name: str
) -> tuple[PyramidNetwork, dict[str, float | None]]:
    """Return a trained network and its held-out accuracy at each of ``sizes``; ``name`` is that of its checkpoints."""
    p, megabytes = stage.params, stage.params.runtime.image_cache_mb
    index, held_out = (Index.load(stage.dep(f"data/index/{split}.json")) for split in ("train", "val"))
    torch.manual_seed(p.seed)
    net = architecture(p.backbone.network)
    network = PyramidNetwork(net, settings.pyramid, settings.fc_width, len(index.classes) + 1)
    where: Run = {**stage.training, "scratch": stage.scratch.folder / name}
    # No name holds the batches: their images give way to those of the accuracy.
    files = training_files(stage)
    pretrain(network, CropBatches(index.images, ImageCache(files, megabytes), settings, p.seed), settings, **where)
    cache = ImageCache([stage.files / image.file for image in held_out.images], megabytes)
    return network, {
        f"accuracy_{size}": accuracy(network, held_out.images, cache, size, stage.device) for size in sizes
    }


def training_files(stage: Stage) -> list[Path]:
    """Return the images of the training split."""
    return [stage.files / image.file for image in Index.load(stage.dep("data/index/train.json")).images]


if __name__ == "__main__":
    run(main)
