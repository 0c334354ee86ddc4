"""What the comparisons with torchvision's classes share: the data, torchvision's training and detection, the judge."""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline import params
from pipeline.core import runtime
from pipeline.data.images import ImageCache, read_image
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.metrics import metrics, rankings
from pipeline.imaging import ImageOrder, mirror, pixels

BATCH = 4


@dataclass(frozen=True)
class Data:
    """What both sides are trained and judged on; ``seen`` is the number of training images, passes together."""

    records: Sequence[ImageRecord]
    test: Index
    root: Path
    seen: int

    def cache(self) -> ImageCache:
        """Return the training images."""
        return ImageCache([self.root / record.file for record in self.records], 1024)


def parser(description: str | None, passes: float) -> argparse.ArgumentParser:
    """Return the options that all comparisons have."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--passes", type=float, default=passes, help="over the training images")
    found.add_argument("--limit", type=int, help="use only so many training and test images")
    found.add_argument("--only", choices=("here", "torchvision"))
    return found


def compare(
    p: params.Params,
    options: argparse.Namespace,
    here: Callable[[Data, params.Params, torch.device], None],
    torchvisions: Callable[[Data, params.Params, torch.device], None],
) -> None:
    """Run both sides, or the one that the options name."""
    device = runtime.device(p.runtime.device)
    indices = [Index.load(Path(f"data/index/{split}.json")) for split in p.data.fit_splits]
    test = Index.load(Path("data/index/test.json"))
    records = [image for index in indices for image in index.images][: options.limit]
    images = test.images[: options.limit]
    data = Data(records, Index(test.classes, images), Path(p.data.root), round(options.passes * len(records)))
    print(f"{len(records)} training images seen {options.passes:g} times, {len(images)} test images")
    for name, measure in (("here", here), ("torchvision", torchvisions)):
        if options.only in (None, name):
            measure(data, p, device)


def train_torchvisions(
    model: nn.Module, data: Data, lr: float, *, flip: bool, difficult: bool, seed: int, device: torch.device
) -> float:
    """Train one of torchvision's detectors by SGD on a one-cycle schedule and return the seconds that it took."""
    model.to(device).train()
    steps = max(1, data.seen // BATCH)
    optimiser = torch.optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=0.0005)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps)
    start = time.perf_counter()
    cache, order = data.cache(), ImageOrder(len(data.records), BATCH, flip, seed)
    for step in runtime.progress(range(steps), "training torchvision's", unit="step"):
        inputs, targets = zip(
            *(_example(data.records[i], cache[i], mirrored, difficult, device) for i, mirrored in order(step)),
            strict=True,
        )
        loss = torch.stack(list(model(list(inputs), list(targets)).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    model.eval()
    return time.perf_counter() - start


def _example(
    record: ImageRecord, image: np.ndarray, mirrored: bool, difficult: bool, device: torch.device
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return one training image in [0, 1] and its objects as torchvision takes them."""
    kept = ~record.ignore | difficult
    boxes = mirror(record.boxes, record.width) if mirrored else record.boxes
    target = {"boxes": torch.from_numpy(boxes[kept]), "labels": torch.from_numpy(record.labels[kept])}
    shown = pixels(image, 1.0, mirrored).to(device).float() / 255
    return shown, {name: value.to(device) for name, value in target.items()}


@torch.inference_mode()
def torchvisions_detections(model: nn.Module, data: Data, batch: int, device: torch.device) -> Detections:
    """Return the detections of one of torchvision's detectors in the test images, ``batch`` at a time."""
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
    """Detect with ``run``, judge and print; ``seconds`` are those of the training."""
    start = time.perf_counter()
    found = run()
    each = (time.perf_counter() - start) / max(1, len(test.images))
    figures = metrics(test, found, rankings(test, found, 0.5), {}, 0.5)
    classes = ", ".join(f"{label} {value:.3f}" for label, value in figures["per_class"].items() if value is not None)
    print(
        f"{name}: map_voc07 {figures['map_voc07']:.3f} ({classes}), map_voc {figures['map_voc']:.3f}, "
        f"training {seconds:.0f} s, test {each:.3f} s an image"
    )
