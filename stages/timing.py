"""Stage ``timing@SYSTEM``: how long one system takes for an image, from the file to the boxes.

    python -m stages.timing rcnn

Reads the models, data/index/test.json and images below data.root; writes reports/timing/SYSTEM.json, and of it
reports/speed/SYSTEM.json, the median by which runs are compared. Nothing but the report may depend on them: they are
others at each run.
"""

import sys
from pathlib import Path

from pipeline import params, systems
from pipeline.core import runtime
from pipeline.core.storage import write_json
from pipeline.data.index import Index
from pipeline.timing import summary, surroundings, throughput, time_images


def main() -> None:
    p = params.load()
    system = systems.system(sys.argv[1])
    settings, device = p.timing, runtime.device(p.runtime.device)
    index = Index.load(Path("data/index/test.json"))
    # Spread evenly, so that every system sees the same ones, and not those of one part of the folder alone.
    files = [Path(p.data.root) / image.file for image in index.spread(settings.images)]
    detector = systems.load(system.name, Path("models"), str(device))
    figures = summary(time_images(detector, files, settings.warmup, device))
    batches = settings.batches if detector.batched else ()
    rates = {f"images_per_second_batch_{n}": round(throughput(detector, files, n, device), 3) for n in batches}
    content = {**surroundings(device), "images": len(files), **figures, **rates}
    write_json(Path(f"reports/timing/{system.name}.json"), content)
    milliseconds = round(1e3 * figures["total_median"], 1)
    write_json(Path(f"reports/speed/{system.name}.json"), {system.name: {"ms": milliseconds}})
    for name, value in {**figures, **rates}.items():
        print(f"{name:32} {value:10.4f}")


if __name__ == "__main__":
    runtime.run(main)
