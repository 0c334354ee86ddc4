"""Region proposals of one split, and how well they cover its objects; writes proposals/SPLIT.h5.

python -m stages.proposals train
"""

from pipeline.core.cluster import cluster
from pipeline.data.index import Index
from pipeline.evaluation.recall import cover, curve_counts, summary, write_curve
from pipeline.proposals.extract import extract
from pipeline.stage import Stage, run


def main(stage: Stage) -> None:
    (split,) = stage.args
    settings = stage.params.proposals
    index = Index.load(stage.dep(f"data/index/{split}.json"))
    scratch, where = stage.scratch.folder, stage.params.runtime.cluster
    images = [stage.files / image.file for image in index.images[:1]]
    with cluster(where, stage.workers, [scratch, *images]) as executor:
        proposals = extract(index, stage.files, settings, stage.workers, scratch, executor)
    proposals.save(stage.out(f"proposals/{split}.h5"))
    coverage = cover(index, proposals, curve_counts(settings.max_per_image))
    figures = summary(coverage)
    write_curve(stage.report / "recall.csv", coverage)
    stage.finish(len(proposals), "image", **figures)
    print(f"{split}: {len(proposals)} images, " + ", ".join(f"{name} {value}" for name, value in figures.items()))


if __name__ == "__main__":
    run(main)
