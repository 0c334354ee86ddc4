"""SPP-net, stage 1: cache the convolutional map of every image of a split; writes features/sppnet/SPLIT.zarr.

python -m stages.sppnet.maps train
"""

from functools import partial

from pipeline.core.cluster import cluster
from pipeline.core.storage import fingerprint, replace, sha256
from pipeline.data.index import Index
from pipeline.features.maps import cache_maps, entries, maps_origin, stored_conv
from pipeline.features.objects import place_of
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
    file = stage.dep(f"models/backbones/{net.name}.safetensors")
    weights.load_conv(conv, net.name, weights.Backbone.load(file).weights)
    geometry = Geometry.from_layers(conv)
    layout = entries(
        [image.id for image in index.images],
        [stage.files / image.file for image in index.images],
        [(image.width, image.height) for image in index.images],
        settings.scales,
        geometry,
    )
    origin = maps_origin(net.name, conv, settings.scales)
    where = stage.params.runtime.cluster
    place = place_of(stage.params.runtime.store, stage.scratch.folder, stage.fingerprint, stage.device)
    with cluster(where, stage.workers, [file, *place.seen_by_all, *layout.files[:1]], stage.device) as executor:
        cache = cache_maps(
            layout,
            conv,
            net.channels,
            place=place,
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
            executor=executor,
            load=partial(stored_conv, net.name, file.absolute(), sha256(file), stage.device) if executor else None,
        )
    replace(cache, stage.out(f"features/sppnet/{split}.zarr"))
    stage.finish(len(index.images), "image")


if __name__ == "__main__":
    run(main)
