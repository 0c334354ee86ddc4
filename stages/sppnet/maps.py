"""SPP-net, stage 1: cache the convolutional map of every image of a split; writes features/sppnet/SPLIT.zarr.

python -m stages.sppnet.maps train
"""

from pipeline.core.storage import fingerprint, replace
from pipeline.data.index import Index
from pipeline.features.maps import cache_maps, entries, maps_origin
from pipeline.nets import weights
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.stage import Stage, run
from pipeline.systems.sppnet.params import Sppnet


def main(stage: Stage) -> None:
    (split,) = stage.args
    sppnet = stage.section(Sppnet)
    settings = sppnet.maps
    index = Index.load(stage.dep(f"data/index/{split}.json"))
    net = architecture(sppnet.backbone)
    conv = net.conv()
    backbone = weights.Backbone.load(stage.dep(f"models/backbones/{net.name}.safetensors"))
    weights.load_conv(conv, net.name, backbone.weights)
    geometry = Geometry.from_layers(conv)
    layout = entries(
        [image.id for image in index.images],
        [stage.files / image.file for image in index.images],
        [(image.width, image.height) for image in index.images],
        settings.scales,
        geometry,
    )
    origin = maps_origin(net.name, conv, settings.scales)
    cache = cache_maps(
        layout,
        conv,
        net.channels,
        folder=stage.scratch.folder,
        dtype=settings.dtype,
        shard_mb=settings.shard_mb,
        precision=settings.precision,
        device=stage.device,
        workers=stage.workers,
        attributes={
            "system": "sppnet",
            **origin,
            "stride": geometry.stride,
            "offset": geometry.offset,
            "fingerprint": fingerprint(**origin),
        },
        title=f"caching maps, {split}",
    )
    replace(cache, stage.out(f"features/sppnet/{split}.zarr"))
    stage.finish(len(index.images), "image")


if __name__ == "__main__":
    run(main)
