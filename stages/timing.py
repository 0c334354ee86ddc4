"""How long a system takes for an image, by phase, and for several at once; writes reports/timing/SYSTEM.json.

python -m stages.timing rcnn
"""

from pathlib import Path

from pipeline import registry
from pipeline.core.storage import write_json
from pipeline.data.index import Index
from pipeline.stage import Stage, run
from pipeline.timing import summary, surroundings, throughput, time_images


def main(stage: Stage) -> None:
    (system,) = stage.args
    settings, device = stage.params.timing, stage.device
    index = Index.load(stage.dep("data/index/test.json"))
    # Spread evenly, so that every system sees the same ones, and not those of one part of the folder alone.
    files = [stage.files / image.file for image in index.spread(settings.images)]
    detector = registry.load(system, Path("models"), str(device))
    figures = summary(time_images(detector, files, settings.warmup, device))
    batches = settings.batches if detector.batched else ()
    rates = {f"images_per_second_batch_{n}": round(throughput(detector, files, n, device), 3) for n in batches}
    content = {**surroundings(device), "images": len(files), **figures, **rates}
    write_json(stage.out(f"reports/timing/{system}.json"), content)
    milliseconds = round(1e3 * figures["total_median"], 1)
    write_json(stage.out(f"reports/speed/{system}.json"), {system: {"ms": milliseconds}})
    for name, value in {**figures, **rates}.items():
        print(f"{name:32} {value:10.4f}")


if __name__ == "__main__":
    run(main)
