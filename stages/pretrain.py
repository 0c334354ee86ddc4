"""Make the backbone: take published weights, or train on object crops; writes models/backbone.safetensors."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline import params
from pipeline.core import costs, runtime
from pipeline.core.code import code_fingerprint
from pipeline.core.sections import Pretrain
from pipeline.core.storage import Scratch, fingerprint, sha256, write_json
from pipeline.data.images import ImageCache
from pipeline.data.index import Index
from pipeline.nets import weights
from pipeline.nets.backbones import architecture
from pipeline.pretraining import CropBatches, PyramidNetwork, accuracy, conv5_rms, pretrain
from pipeline.training import publish_curves

BACKBONE = Path("models/backbone.safetensors")
METRICS = Path("reports/metrics/pretrain.json")
COSTS = Path("reports/costs/pretrain.json")
CURVES = Path("reports/plots/pretrain")


def main() -> None:
    p = params.load()
    given = Path(p.backbone.weights)
    file = given / "backbone.safetensors" if given.is_dir() else given
    if given.is_dir() and not file.is_file():
        return train_on_crops()
    tensors = weights.published(file, p.backbone.network)
    conv = architecture(p.backbone.network).conv()
    weights.load_conv(conv, p.backbone.network, tensors)
    files = [Path(p.data.root) / image.file for image in Index.load(Path("data/index/train.json")).images]
    rms = conv5_rms(conv, files, runtime.device(p.runtime.device))
    weights.Backbone(tensors, rms, network=p.backbone.network, source=sha256(file)).save(BACKBONE)
    write_json(METRICS, {"steps": 0, "conv5_rms": round(rms, 3)})
    CURVES.mkdir(parents=True, exist_ok=True)
    print(f"{BACKBONE}: published weights of {p.backbone.network} from {file}")
    costs.record(COSTS, 0, "crop")


def train_on_crops() -> None:
    p = params.load()
    settings = p.pretrain
    network, scores, resumed = train_network(settings, settings.sizes, "pretrain", publish=True)
    crops = settings.schedule.steps * settings.batch
    if settings.compare_single_size:
        alone = settings.model_copy(update={"sizes": (max(settings.sizes),)})
        _, single, again = train_network(alone, settings.sizes, "pretrain_single_size", publish=False)
        crops, resumed = 2 * crops, resumed or again
        scores |= {f"single_size_{name}": value for name, value in single.items()}
    files = [Path(p.data.root) / image.file for image in Index.load(Path("data/index/train.json")).images]
    rms = conv5_rms(network.features, files, runtime.device(p.runtime.device))
    kept = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("output.")}
    weights.Backbone(kept, rms, settings.pyramid, p.backbone.network, "pretrain").save(BACKBONE)
    write_json(METRICS, {"steps": settings.schedule.steps, "conv5_rms": round(rms, 3), **scores})
    print(f"{BACKBONE}: trained on object crops; held-out accuracy {scores}")
    costs.record(COSTS, crops, "crop", resumed=resumed)


def train_network(
    settings: Pretrain, sizes: Sequence[int], name: str, *, publish: bool
) -> tuple[PyramidNetwork, dict[str, float | None], bool]:
    """Return a trained network, its held-out accuracy at each of ``sizes``, and whether its training was resumed.

    ``name`` is that of its scratch folder.
    """
    p = params.load()
    device = runtime.device(p.runtime.device)
    index = Index.load(Path("data/index/train.json"))
    held_out = Index.load(Path("data/index/val.json"))
    root, megabytes = Path(p.data.root), p.runtime.image_cache_mb
    crops = CropBatches(index.images, ImageCache([root / i.file for i in index.images], megabytes), settings, p.seed)
    torch.manual_seed(p.seed)
    network = PyramidNetwork(
        architecture(p.backbone.network), settings.pyramid, settings.fc_width, len(index.classes) + 1
    )
    scratch = Scratch(
        name,
        fingerprint(
            code=code_fingerprint(Path(__file__)),
            params=[p.seed, p.backbone.network, settings.model_dump()],
            index=Path("data/index"),
            torch=torch.__version__,
        ),
    )
    workers = runtime.loader_workers(device, p.runtime.workers)
    pretrain(network, crops, settings, scratch=scratch.folder, seed=p.seed, device=device, workers=workers)
    cache = ImageCache([root / image.file for image in held_out.images], megabytes)
    scores = {f"accuracy_{size}": accuracy(network, held_out.images, cache, size, device) for size in sizes}
    if publish:
        publish_curves(scratch.folder, CURVES)
    scratch.clear()
    return network, scores, scratch.resumed


if __name__ == "__main__":
    runtime.run(main)
