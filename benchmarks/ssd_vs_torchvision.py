"""SSD as built here beside torchvision's class, on the same backbone weights and as many training images.

    boxline preset folder --set data.root=/where/it/is
    dvc repro index pretrain
    python -m benchmarks.ssd_vs_torchvision [--passes 30] [--limit 40] [--only torchvision]

Reads params.yaml, data/index and models/backbone.safetensors of the current folder and changes nothing there. Both see
``--passes`` times the images of ``data.fit_splits`` at ``ssd.side`` pixels. torchvision: batches of 4, flips, SGD at
0.002 on a one-cycle schedule, three maps with the first sizes of our default boxes, the backbone's divided by their
size (as they are, those of SqueezeNet left the finite numbers within 30 steps, even at 0.0005). Here: params.yaml, the
schedule shortened or stretched in proportion. Prints mAP of the test split by `pipeline.evaluation`, training time, and
time an image (from file to detections), both in batches of ``ssd.detect.batch``.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD

from pipeline import params, runtime
from pipeline.data.image_cache import ImageCache
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord, Index
from pipeline.detectors.single_shot.detect import detect
from pipeline.detectors.ssd.network import Shape, Ssd
from pipeline.detectors.ssd.training import train_ssd
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.metrics import metrics, rankings
from pipeline.imaging.image_batches import mirror, pixels
from pipeline.imaging.image_order import ImageOrder
from pipeline.nets import weights
from pipeline.nets.backbones import MEAN, STD, architecture
from pipeline.params import Schedule

BATCH, LEARNING_RATE, EXTRA_CHANNELS = 4, 0.002, 256


@dataclass(frozen=True)
class Data:
    """What both are trained and judged on."""

    records: Sequence[ImageRecord]
    test: Index
    root: Path

    def cache(self) -> ImageCache:
        """Return the training images."""
        return ImageCache([self.root / record.file for record in self.records], 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=float, default=30, help="over the training images")
    parser.add_argument("--limit", type=int, help="use only so many training and test images")
    parser.add_argument("--only", choices=("here", "torchvision"))
    options = parser.parse_args()
    p = params.load()
    device = runtime.device(p.runtime.device)
    indices = [Index.load(Path(f"data/index/{split}.json")) for split in p.data.fit_splits]
    test = Index.load(Path("data/index/test.json"))
    records = [image for index in indices for image in index.images][: options.limit]
    data = Data(records, Index(test.classes, test.images[: options.limit]), Path(p.data.root))
    images = round(options.passes * len(records))
    print(f"{len(records)} training images seen {options.passes:g} times, {len(data.test.images)} test images")
    for name, measure in (("here", here), ("torchvision", torchvisions)):
        if options.only in (None, name):
            measure(data, p, images, device)


def here(data: Data, p: params.Params, images: int, device: torch.device) -> None:
    """Train, detect, print."""
    section = p.ssd
    schedule = stretched(section.train.schedule, max(1, images // section.train.images))
    torch.manual_seed(p.seed)
    network = Ssd(
        Shape.of(
            p.backbone.network,
            len(data.test.classes),
            section.side,
            section.taps,
            section.extra,
            section.l2_scale,
            section.default_boxes,
        )
    )
    backbone, origin = weights.load(Path("models/backbone.safetensors"))
    network.load_backbone(backbone, float(origin["conv5_rms"]))
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
    report(
        "here",
        test,
        seconds,
        lambda: detect(network, network.decode, section.side, test.images, data.root, section.detect, device),
    )


def stretched(schedule: Schedule, steps: int) -> Schedule:
    """Return ``schedule`` with ``steps`` steps, its other step numbers in proportion."""
    factor = steps / schedule.steps
    decay_at = tuple(max(1, round(step * factor)) for step in schedule.decay_at)
    return schedule.model_copy(update={"steps": steps, "decay_at": decay_at, "warmup": round(schedule.warmup * factor)})


class Maps(nn.Module):
    """The backbone's maps at strides 8 and 16 for SqueezeNet, at its end alone for others, and extra ones: three."""

    def __init__(self, network: str, backbone: weights.Weights, size: float) -> None:
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


def torchvisions(data: Data, p: params.Params, images: int, device: torch.device) -> None:
    """Train torchvision's class, detect, print."""
    torch.manual_seed(p.seed)
    side = p.ssd.side
    backbone, origin = weights.load(Path("models/backbone.safetensors"))
    maps = Maps(p.backbone.network, backbone, float(origin["conv5_rms"]))
    sides = Shape.of(p.backbone.network, 1, side, p.ssd.taps, p.ssd.extra, p.ssd.l2_scale, p.ssd.default_boxes).sides
    boxes = DefaultBoxGenerator([[2, 3]] * 3, scales=[each / side for each in sides[:4]], clip=False)
    classes = len(data.test.classes) + 1
    model = SSD(maps, boxes, (side, side), classes, image_mean=list(MEAN), image_std=list(STD)).to(device)
    steps = max(1, images // BATCH)
    optimiser = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9, weight_decay=0.0005)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    start = time.perf_counter()
    cache, order = data.cache(), ImageOrder(len(data.records), BATCH, p.ssd.train.augment.flip, p.seed)
    model.train()
    for step in runtime.progress(range(steps), "training torchvision's", unit="step"):
        inputs, targets = zip(*(example(data.records[i], cache[i], m, device) for i, m in order(step)), strict=True)
        loss = torch.stack(list(model(list(inputs), list(targets)).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    seconds = time.perf_counter() - start
    model.eval()
    report("torchvision", data.test, seconds, lambda: torchvision_detections(model, data, p.ssd.detect.batch, device))


def example(
    record: ImageRecord, image: np.ndarray, mirrored: bool, device: torch.device
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return one training image in [0, 1] and its objects as torchvision takes them."""
    boxes = mirror(record.boxes, record.width) if mirrored else record.boxes
    target = {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(record.labels)}
    shown = pixels(image, 1.0, mirrored).to(device).float() / 255
    return shown, {name: value.to(device) for name, value in target.items()}


@torch.inference_mode()
def torchvision_detections(model: SSD, data: Data, batch: int, device: torch.device) -> Detections:
    """Return torchvision's detections in the test images, ``batch`` at a time."""
    found, records = [], data.test.images
    for start in runtime.progress(range(0, len(records), batch), "detecting", unit="batch"):
        part = records[start : start + batch]
        images = [pixels(read_image(data.root / record.file), 1.0).to(device).float() / 255 for record in part]
        for record, result in zip(part, model(images), strict=True):
            values = {name: value.cpu().numpy() for name, value in result.items()}
            ids = np.full(len(values["scores"]), record.id, np.int64)
            found.append((ids, values["labels"].astype(np.int64), values["boxes"], values["scores"]))
    ids, labels, boxes, scores = (np.concatenate(column) for column in zip(*found, strict=True))
    return Detections(ids, labels, boxes, scores)


def report(name: str, test: Index, seconds: float, run: Callable[[], Detections]) -> None:
    start = time.perf_counter()
    found = run()
    each = (time.perf_counter() - start) / max(1, len(test.images))
    figures = metrics(test, found, rankings(test, found, 0.5), {}, 0.5)
    classes = ", ".join(f"{label} {value:.3f}" for label, value in figures["per_class"].items() if value is not None)
    print(
        f"{name}: map_voc07 {figures['map_voc07']:.3f} ({classes}), map_voc {figures['map_voc']:.3f}, "
        f"training {seconds:.0f} s, test {each:.3f} s an image"
    )


if __name__ == "__main__":
    main()
