"""SSD as built here beside torchvision's class, on the same backbone weights and as many training images.

    boxline preset folder --set data.root=/where/it/is
    dvc repro index pretrain
    python -m benchmarks.ssd_vs_torchvision [--passes 30] [--limit 40] [--only torchvision]

Reads params.yaml, data/index and models/backbones of the current folder and changes nothing there. Both see
``--passes`` times the images of ``data.fit_splits`` at ``ssd.side`` pixels. torchvision: batches of 4, flips, SGD at
0.002 on a one-cycle schedule, three maps with the first sizes of our default boxes, the backbone's divided by their
scale (unscaled, SqueezeNet's loss became NaN within 30 steps, even at 0.0005). Here: params.yaml, the schedule
shortened or stretched in proportion. Prints mAP of the test split by `pipeline.evaluation`, training time, and time an
image (from file to detections), both in batches of ``ssd.detect.batch``.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD

from benchmarks.against_torchvision import Data, compare, parser, report, torchvisions_detections, train_torchvisions
from pipeline import params
from pipeline.core.sections import Schedule
from pipeline.detector import Description, detect_split
from pipeline.nets import weights
from pipeline.nets.backbones import MEAN, STD, architecture
from pipeline.systems.square_detector import SquareDetector
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.ssd.training import train_ssd

LEARNING_RATE, EXTRA_CHANNELS = 0.002, 256


def main() -> None:
    compare(params.load(), parser(__doc__, passes=30).parse_args(), here, torchvisions)


def here(data: Data, p: params.Params, device: torch.device) -> None:
    """Train, detect, print."""
    section = p.ssd
    schedule = stretched(section.train.schedule, max(1, data.seen // section.train.batch))
    torch.manual_seed(p.seed)
    network = Ssd(
        SsdShape.from_params(
            p.ssd.backbone,
            len(data.test.classes),
            section.side,
            section.taps,
            section.extra,
            section.l2_scale,
            section.default_boxes,
        )
    )
    network.load_backbone(weights.Backbone.load(Path(f"models/backbones/{p.ssd.backbone}.safetensors")))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        train_ssd(
            network,
            data.records,
            data.cache(),
            section.train.model_copy(update={"schedule": schedule}),
            scratch=Path(folder),
            seed=p.seed,
            device=device,
            workers=0,
        )
        seconds = time.perf_counter() - start
    test = data.test
    description = Description.of("ssd", test.classes, detect=section.detect)
    detector = SquareDetector(description, network, network.decode, section.side, device)
    report(
        "here",
        test,
        seconds,
        lambda: detect_split(detector, test, data.root)[0],
    )


def stretched(schedule: Schedule, steps: int) -> Schedule:
    """Return ``schedule`` with ``steps`` steps, its other step numbers in proportion."""
    factor = steps / schedule.steps
    decay_at = tuple(max(1, round(step * factor)) for step in schedule.decay_at)
    return schedule.model_copy(update={"steps": steps, "decay_at": decay_at, "warmup": round(schedule.warmup * factor)})


class Maps(nn.Module):
    """The backbone's maps at strides 8 and 16 for SqueezeNet, at its end alone for others, and extra ones: three."""

    def __init__(self, network: str, backbone: dict[str, torch.Tensor], size: float) -> None:
        super().__init__()
        self.size = size
        conv = architecture(network).conv()
        weights.load_conv(conv, network, backbone)
        cut = [11] if network == "squeezenet1_0" else []
        self.parts = nn.ModuleList([conv[: cut[0]], conv[cut[0] :]] if cut else [conv])
        width, self.extra = architecture(network).channels, 3 - len(self.parts)
        self.out_channels = [width] * len(self.parts)
        while len(self.parts) < 3:
            self.parts.append(
                nn.Sequential(
                    nn.Conv2d(width, EXTRA_CHANNELS // 2, 1),
                    nn.ReLU(),
                    nn.Conv2d(EXTRA_CHANNELS // 2, EXTRA_CHANNELS, 3, 2, 1),
                    nn.ReLU(),
                )
            )
            self.out_channels.append(EXTRA_CHANNELS)
            width = EXTRA_CHANNELS

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the three maps, finest first; heads and extra layers see the backbone's divided by its size."""
        maps, own = {}, len(self.out_channels) - self.extra
        for place, part in enumerate(self.parts):
            images = part(images / self.size if place == own else images)
            maps[str(place)] = images / self.size if place < own else images
        return maps


def torchvisions(data: Data, p: params.Params, device: torch.device) -> None:
    """Train torchvision's class, detect, print."""
    torch.manual_seed(p.seed)
    side = p.ssd.side
    backbone = weights.Backbone.load(Path(f"models/backbones/{p.ssd.backbone}.safetensors"))
    maps = Maps(p.ssd.backbone, dict(backbone.weights), backbone.conv5_rms)
    sides = SsdShape.from_params(
        p.ssd.backbone, 1, side, p.ssd.taps, p.ssd.extra, p.ssd.l2_scale, p.ssd.default_boxes
    ).sides
    boxes = DefaultBoxGenerator([[2, 3]] * 3, scales=[each / side for each in sides[:4]], clip=False)
    classes = len(data.test.classes) + 1
    model = SSD(maps, boxes, (side, side), classes, image_mean=list(MEAN), image_std=list(STD))
    how: dict[str, Any] = {"flip": p.ssd.train.augment.flip, "difficult": p.ssd.train.difficult, "seed": p.seed}
    seconds = train_torchvisions(model, data, LEARNING_RATE, device=device, **how)
    batch = p.ssd.detect.batch
    report("torchvision", data.test, seconds, lambda: torchvisions_detections(model, data, batch, device))


if __name__ == "__main__":
    main()
