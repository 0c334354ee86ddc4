"""What one test image costs R-CNN and SPP-net, with one backbone, on one machine, in one process.

    python -m benchmarks.rcnn_vs_sppnet --regions 160
    python -m benchmarks.rcnn_vs_sppnet --full

Both look at the same random windows of made-up images of 800 x 600 pixels; weights are random, since times do not
depend on them. Decoding and proposals are left out: they are the same for both.

R-CNN    warp each window, convolutions, pooling and fc layers on each
SPP-net  resize, convolutions once per scale; project, pool, fc layers for each different window

Without `--full`, R-CNN is timed on `--regions` windows and scaled up to `--proposals`; SPP-net always takes all.
Systems and phases take turns, round after round; the table gives medians.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch

from pipeline.core import runtime
from pipeline.core.boxes import Boxes
from pipeline.core.clock import Clock, Phase
from pipeline.core.sections import Region
from pipeline.features.maps import ImageMaps, map_cells
from pipeline.nets.backbones import architecture, channels_last
from pipeline.nets.geometry import Geometry
from pipeline.systems.rcnn.features import region_taps
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape
from pipeline.systems.sppnet.features import region_features
from pipeline.systems.sppnet.network import PyramidHead, PyramidShape

WIDTH, HEIGHT = 800, 600
Times = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="alexnet")
    parser.add_argument("--side", type=int, default=227, help="of R-CNN's warped region, in pixels")
    parser.add_argument("--scales", type=int, nargs="+", default=[600], help="of SPP-net; 600 is the image as it is")
    parser.add_argument("--pyramid", type=int, nargs="+", default=[6, 3, 2, 1])
    parser.add_argument("--proposals", type=int, default=2000)
    parser.add_argument("--regions", type=int, default=160, help="windows that R-CNN is timed on, scaled up")
    parser.add_argument("--full", action="store_true", help="time R-CNN on all proposals")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()

    device = runtime.device(args.device)
    torch.manual_seed(0)
    timed = args.proposals if args.full else min(args.regions, args.proposals)
    rcnn, sppnet = RcnnTimer(args.network, args.side, device), SppnetTimer(args, device)
    rcnn_times: Times = defaultdict(list)
    sppnet_times: Times = defaultdict(list)
    for number in range(args.images + 1):  # the first image warms up
        pixels, boxes = made_up(number, args.proposals, device)
        for times, phases in ((rcnn_times, rcnn(pixels, boxes[:timed])), (sppnet_times, sppnet(pixels, boxes))):
            for phase, seconds in phases.items() if number else ():
                times[phase].append(seconds * (args.proposals / timed if times is rcnn_times else 1))
    how = "all timed" if timed == args.proposals else f"timed on {timed} and scaled up"
    print(f"{args.network} on {device}, {torch.get_num_threads()} threads, {args.images} images of {WIDTH} x {HEIGHT}")
    print(f"{args.proposals} proposals; R-CNN {how}, {args.side} px; SPP-net at {args.scales}, {args.pyramid}")
    table("R-CNN", rcnn_times)
    table("SPP-net", sppnet_times)
    convolutions = total(rcnn_times, "convolution") / total(sppnet_times, "convolution")
    print(f"convolutions: R-CNN / SPP-net {convolutions:.0f}")
    print(f"all features: R-CNN / SPP-net {total(rcnn_times) / total(sppnet_times):.1f}")


def made_up(number: int, count: int, device: torch.device) -> tuple[torch.Tensor, Boxes]:
    """Return an image ``(3, H, W)`` and ``count`` windows, drawn from the seed ``number``."""
    rng = np.random.default_rng(number)
    pixels = torch.from_numpy(rng.normal(size=(3, HEIGHT, WIDTH)).astype(np.float32)).to(device)
    corners = rng.uniform(0, [WIDTH - 20, HEIGHT - 20], (count, 2))
    sizes = np.exp(rng.uniform(np.log(20), np.log([WIDTH, HEIGHT]), (count, 2)))
    far = np.minimum(corners + sizes, [WIDTH, HEIGHT])
    return pixels, np.concatenate([corners, far], axis=1).astype(np.float32)


class RcnnTimer:
    """R-CNN's way to the features of fc7, in the batches that the stage uses."""

    def __init__(self, name: str, side: int, device: torch.device) -> None:
        self._region = Region(size=side, padding=16, mode="warp")
        self._network = RegionNetwork(RegionShape(name, side, fc_width=512, outputs=0)).eval()
        channels_last(self._network, device)
        self._batch, self._device = self._network.net.batch(side, device, "auto"), device

    def __call__(self, pixels: torch.Tensor, boxes: Boxes) -> Mapping[Phase, float]:
        """Return the seconds of each phase."""
        clock = Clock(self._device)
        list(region_taps(self._network, pixels, boxes, self._region, ("fc7",), self._batch, "auto", clock))
        return clock.seconds


class SppnetTimer:
    """SPP-net's way to the features of fc7."""

    def __init__(self, args: argparse.Namespace, device: torch.device) -> None:
        net = architecture(args.network)
        self._conv = channels_last(net.conv(), device).eval()
        self._geometry, self._scales, self._device = Geometry.from_architecture(net), tuple(args.scales), device
        width = net.fc[2] if net.fc else 512
        shape = PyramidShape(net.name, "", net.channels, "released", 208, tuple(args.pyramid), width, 0)
        self._head = PyramidHead(shape).to(device).eval()

    def __call__(self, pixels: torch.Tensor, boxes: Boxes) -> Mapping[Phase, float]:
        """Return the seconds of each phase."""
        clock = Clock(self._device)
        sizes = [(round(HEIGHT * scale / HEIGHT), round(WIDTH * scale / HEIGHT)) for scale in self._scales]
        with clock.phase("convolution"):
            cells = [map_cells(self._conv, pixels, size, "auto") for size in sizes]
        hw = np.array([[self._geometry.size(side) for side in size] for size in sizes], np.int64)
        factors = np.array([[size[1] / WIDTH, size[0] / HEIGHT] for size in sizes])
        with torch.inference_mode():
            maps = ImageMaps(cells, hw, factors)
            region_features(self._head, maps, boxes, self._scales, self._geometry, ("fc7",), self._device, clock)
        return clock.seconds


def total(times: Times, phase: str | None = None) -> float:
    """Return the median seconds of a phase, or of all phases together."""
    if phase:
        return statistics.median(times[phase])
    return statistics.median(sum(parts) for parts in zip(*times.values(), strict=True))


def table(title: str, times: Times) -> None:
    """Print a line for each phase, and the total."""
    for phase in times:
        print(f"{title:8} {phase:13} {total(times, phase):9.4f} s/image")
    print(f"{title:8} {'together':13} {total(times):9.4f} s/image")


if __name__ == "__main__":
    main()
