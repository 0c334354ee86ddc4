"""`boxline validate` on a folder of many small images: seconds, images a second and peak memory.

    python -m benchmarks.validate_large [--images 20000] [--objects 2]

The folder is in the layout of YOLO: JPEGs of 64 x 48 pixels, each another one, and a label file for each. It is written
to a temporary folder and removed. The floor is to read the same files, of images the header alone decoded.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from pipeline.core.runtime import item_rng, progress

WIDTH, HEIGHT = 64, 48
CLASSES = ("cat", "dog", "bird")
SPLITS = {"train": 0.6, "val": 0.2, "test": 0.2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--objects", type=int, default=2, help="of each image")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, options.images, options.objects)
        print(f"{options.images:,} images, {options.images * options.objects:,} objects")
        start = time.perf_counter()
        read_headers(folder)
        print(row("headers alone", options.images, time.perf_counter() - start))
        seconds, megabytes = validate(folder)
        print(f"{row('validate', options.images, seconds)}, {megabytes:,.0f} MiB")


def write(folder: Path, images: int, objects: int) -> None:
    """Write the images of each split with their labels, and the names of the classes."""
    for split in SPLITS:
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
    borders = np.cumsum(list(SPLITS.values())) * images
    for i in progress(range(images), "writing images"):
        split = list(SPLITS)[int(np.searchsorted(borders, i, side="right"))]
        rng = item_rng(1, i)
        coarse = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((WIDTH, HEIGHT)).save(folder / f"images/{split}/{i:06d}.jpg")
        sides = rng.uniform(0.1, 0.5, (objects, 2))
        centres = rng.uniform(sides / 2, 1 - sides / 2)
        lines = np.column_stack([rng.integers(0, len(CLASSES), objects), centres, sides])
        np.savetxt(folder / f"labels/{split}/{i:06d}.txt", lines, fmt=["%d", *["%.6f"] * 4])
    (folder / "classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")


def read_headers(folder: Path) -> None:
    """Read each file of the folder, and decode the headers of the images."""
    for path in folder.rglob("*.*"):
        content = path.read_bytes()
        if path.suffix == ".jpg":
            Image.open(BytesIO(content))


def validate(folder: Path) -> tuple[float, float]:
    """Run the command and return its seconds and MiB of peak memory."""
    command = [sys.executable, "-m", "pipeline.cli", "validate", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    start, memory = time.perf_counter(), 0
    with psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                memory = max(memory, process.memory_info().rss)
            except psutil.Error:
                break
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - start, memory / (1 << 20)


def row(name: str, images: int, seconds: float) -> str:
    """Return a line of the result."""
    return f"{name:14} {seconds:7.1f} s, {images / seconds:9,.0f} images/s"


if __name__ == "__main__":
    main()
