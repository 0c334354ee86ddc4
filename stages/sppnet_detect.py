"""SPP-net at test: score, regress and suppress the windows of the test split.

Writes detections/sppnet.json and, for detection without a cache, models/sppnet/detector.json.
"""

from pathlib import Path

from pipeline import params
from pipeline.core import runtime
from pipeline.data.index import Index
from pipeline.detector import write_description
from pipeline.features.maps import MapCache
from pipeline.linear.detection import detect
from pipeline.linear.model import LinearModel
from pipeline.linear.ridge import BoxRegressor
from pipeline.proposals.store import ProposalSet
from pipeline.systems.sppnet.features import PooledRegions
from pipeline.systems.sppnet.network import PyramidHead

NETWORK = Path("models/sppnet/network.safetensors")


def main() -> None:
    p = params.load()
    settings = p.sppnet.detect
    index = Index.load(Path("data/index/test.json"))
    svm = LinearModel.load(Path("models/sppnet/svm.safetensors"), "sppnet_svm")
    regressor = BoxRegressor.load(Path("models/sppnet/bbox.safetensors"), "sppnet_bbox")
    features = PooledRegions.from_proposals(
        MapCache(Path("features/sppnet/test.zarr"), "sppnet_maps@test"),
        index,
        ProposalSet.load(Path("proposals/test.h5"), index),
        PyramidHead.load(NETWORK, "sppnet_finetune"),
        NETWORK,
        runtime.device(p.runtime.device),
    )
    detections, least = detect(
        features,
        [(image.width, image.height) for image in index.images],
        svm,
        regressor if settings.box_regression else None,
        settings,
    )
    detections.save(Path("detections/sppnet.json"))
    used = {"proposals": p.proposals, "maps": p.sppnet.maps, "detect": settings}
    write_description(NETWORK.parent, "sppnet", index.classes, used, least)
    print(f"{len(detections)} detections in {len(index.images)} images")


if __name__ == "__main__":
    runtime.run(main)
