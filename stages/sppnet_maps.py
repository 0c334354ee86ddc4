"""SPP-net, stage 1: cache the convolutional map of every image of a split; writes features/sppnet/SPLIT.zarr.

python -m stages.sppnet_maps train
"""

import sys
from pathlib import Path

from pipeline import params
from pipeline.core import costs, runtime
from pipeline.core.code import code_fingerprint
from pipeline.core.storage import Scratch, fingerprint, replace, sha256
from pipeline.data.index import Index
from pipeline.features.maps import cache_maps, entries, maps_origin
from pipeline.nets import weights
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry

BACKBONE = Path("models/backbone.safetensors")


def main() -> None:
    split = sys.argv[1]
    p = params.load()
    device = runtime.device(p.runtime.device)
    settings = p.sppnet.maps
    index_file = Path(f"data/index/{split}.json")
    index = Index.load(index_file)
    tensors, metadata = weights.load(BACKBONE)
    net = architecture(metadata["network"])
    conv = net.conv()
    weights.load_conv(conv, net.name, tensors)
    geometry = Geometry.from_layers(conv)
    layout = entries(
        [image.id for image in index.images],
        [Path(p.data.root) / image.file for image in index.images],
        [(image.width, image.height) for image in index.images],
        settings.scales,
        geometry,
    )
    origin = maps_origin(net.name, conv, settings.scales)
    attributes = {
        "system": "sppnet",
        **origin,
        "stride": geometry.stride,
        "offset": geometry.offset,
        "fingerprint": fingerprint(**origin),
    }
    scratch = Scratch(
        f"sppnet_maps_{split}",
        fingerprint(
            code=code_fingerprint(Path(__file__)),
            attributes=attributes,
            settings=settings.model_dump(),
            device=device.type,
            index=sha256(index_file),
        ),
    )
    cache = cache_maps(
        layout,
        conv,
        net.channels,
        folder=scratch.folder,
        dtype=settings.dtype,
        shard_mb=settings.shard_mb,
        device=device,
        workers=runtime.worker_count(p.runtime.workers),
        attributes=attributes,
        title=f"caching maps, {split}",
    )
    replace(cache, Path(f"features/sppnet/{split}.zarr"))
    costs.record(Path(f"reports/costs/sppnet_maps_{split}.json"), len(index.images), "image", resumed=scratch.resumed)
    scratch.clear()


if __name__ == "__main__":
    runtime.run(main)
