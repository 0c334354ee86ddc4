"""How near the R-CNN feature cache comes to the forward pass alone, and how far the usual way stays behind.

    python -m benchmarks.feature_caching ../shared/data/voc100/JPEGImages --network squeezenet1_0 --side 227

Three ways through the same regions of the same images, taken in turn, round after round, in one process:

floor   the forward pass alone, on warped regions that are already in memory, in the stage's batches, channels last
stage   what the stage systems/rcnn/dvc.yaml:features does: decode, warp, forward, compress, write to zarr
usual   crop with Pillow, resize, to tensor, normalise, plain batches of 128; nothing is written

Prints regions per second and the ratios; on a GPU also the share of the stage's time in which the GPU computes.
`--batches` measures the floor at other batch sizes, from which the rule in pipeline/nets/backbones.py was taken.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import functional as transforms

from pipeline.core import runtime
from pipeline.core.sections import CachePrecision, Region
from pipeline.data.images import read_image
from pipeline.features.regions import Regions, gather
from pipeline.features.warp import warp
from pipeline.nets.backbones import MEAN, STD, channels_last, normalise
from pipeline.nets.precision import caching
from pipeline.systems.rcnn.features import AT_ONCE, cache_regions
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape

USUAL_BATCH = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder with JPEG images")
    parser.add_argument("--network", default="squeezenet1_0")
    parser.add_argument("--side", type=int, default=227, help="of the warped region, in pixels")
    parser.add_argument("--padding", type=int, default=16)
    parser.add_argument("--layers", nargs="+", default=["pool5", "fc7"])
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--regions", type=int, default=300, help="per image")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="auto", choices=get_args(CachePrecision), help="of floor and stage")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0, help="decoding threads; 0: one per core")
    parser.add_argument("--batches", type=int, nargs="*", default=[], help="measure the floor at these batches too")
    args = parser.parse_args()

    device = runtime.device(args.device)
    torch.manual_seed(0)
    region = Region(size=args.side, padding=args.padding, mode="warp")
    network = RegionNetwork(RegionShape(args.network, args.side, fc_width=512, outputs=0)).eval()
    channels_last(network, device)
    regions = random_regions(sorted(args.folder.glob("*.jpg"))[: args.images], args.regions)
    count = len(regions.boxes)
    batch = network.net.batch(args.side, device, args.precision)
    print(
        f"{args.network}, {args.side} px, {count} regions of {len(regions.files)} images, batch {batch}, {device}, "
        f"precision {args.precision}"
    )

    warped = warped_regions(regions, region, device)
    speeds: dict[str, list[float]] = {"floor": [], "stage": [], "usual": []}
    busy: list[float] = []
    for number in range(args.rounds + 1):  # the first round warms up
        seconds = {
            "floor": timed(lambda: forward_alone(network, warped, args.layers, batch, args.precision), device),
            "stage": timed(lambda: stage(network, regions, region, args, batch, device), device),
            "usual": timed(lambda: usual_way(network, regions, args, device), device),
        }
        if number:
            for name, value in seconds.items():
                speeds[name].append(count / value)
            busy.append(seconds["floor"] / seconds["stage"])
    floor, caching, usual = (statistics.median(speeds[name]) for name in ("floor", "stage", "usual"))
    for name, values in speeds.items():
        print(f"{name:6} {statistics.median(values):9.1f} regions/s   ({min(values):.1f} to {max(values):.1f})")
    shares = [s / f for s, f in zip(speeds["stage"], speeds["floor"], strict=True)]
    print(f"stage / floor {statistics.median(shares):.3f}   ({min(shares):.3f} to {max(shares):.3f})")
    print(f"stage / usual {caching / usual:.2f}, floor / usual {floor / usual:.2f}")
    if device.type == "cuda":
        print(f"share of the stage in which the GPU computes: {statistics.median(busy):.2f}")
    for other in args.batches:
        alone = partial(forward_alone, network, warped, args.layers, other, args.precision)
        seconds = min(timed(alone, device) for _ in range(3))
        print(f"floor at batch {other}: {count / seconds:.1f} regions/s")


def random_regions(files: list[Path], each: int) -> Regions:
    """Return regions of all sizes, drawn evenly, without ground truth."""
    rng = np.random.default_rng(0)
    proposals = []
    for file in files:
        height, width = read_image(file).shape[:2]
        size = np.array([width, height])
        corner = rng.uniform(0, 0.8, (each, 2)) * size
        far = np.minimum(corner + rng.uniform(0.05, 0.6, (each, 2)) * size, size)
        proposals.append(np.concatenate([corner, far], axis=1).astype(np.float32))
    return gather(range(1, len(files) + 1), files, [np.zeros((0, 4), np.float32)] * len(files), proposals)


def warped_regions(regions: Regions, region: Region, device: torch.device) -> torch.Tensor:
    parts = []
    for position, file in enumerate(regions.files):
        pixels = normalise(torch.from_numpy(read_image(file)).to(device).permute(2, 0, 1))
        parts.append(warp(pixels, regions.boxes[regions.offsets[position] : regions.offsets[position + 1]], region))
    return torch.cat(parts).contiguous(memory_format=torch.channels_last)


def forward_alone(
    network: RegionNetwork, warped: torch.Tensor, layers: list[str], batch: int, precision: CachePrecision
) -> None:
    with torch.inference_mode(), caching(precision, warped.device):
        for part in warped.split(max(batch, AT_ONCE // batch * batch)):
            network.head_taps(torch.cat([network.pool(network.conv(regions)) for regions in part.split(batch)]), layers)


def stage(
    network: RegionNetwork, regions: Regions, region: Region, args: argparse.Namespace, batch: int, device: torch.device
) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        cache_regions(
            regions,
            network,
            region,
            args.layers,
            place=folder,
            dtype="float16",
            shard_mb=64,
            batch=batch,
            precision=args.precision,
            device=device,
            workers=runtime.worker_count(args.workers),
            attributes={},
            title="stage",
        )
    finally:
        shutil.rmtree(folder)


def usual_way(network: RegionNetwork, regions: Regions, args: argparse.Namespace, device: torch.device) -> None:
    plain = network.to(memory_format=torch.contiguous_format)
    waiting: list[torch.Tensor] = []

    def flush() -> None:
        with torch.inference_mode():
            for layer in plain.taps(torch.stack(waiting).to(device), args.layers).values():
                layer.half().cpu()
        waiting.clear()

    for position, file in enumerate(regions.files):
        image = Image.open(file).convert("RGB")
        for box in regions.boxes[regions.offsets[position] : regions.offsets[position + 1]]:
            crop = image.crop(tuple(box.tolist())).resize((args.side, args.side), Image.Resampling.BILINEAR)
            waiting.append(transforms.normalize(transforms.to_tensor(crop), list(MEAN), list(STD)))
            if len(waiting) == USUAL_BATCH:
                flush()
    if waiting:
        flush()
    network.to(memory_format=torch.channels_last)


def timed(work, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
