"""HOG and SVMs, stage 2: a filter for each look of a class; writes models/hog_svm/filters.safetensors."""

from pipeline.data.index import Index
from pipeline.features.hog_pyramid import descriptor_of
from pipeline.features.maps import MapCache
from pipeline.linear.templates import components_of
from pipeline.linear.windows import WindowSet, object_windows, train_filters
from pipeline.reach import summary
from pipeline.stage import Stage, run
from pipeline.systems.hog_svm.model import HogModel
from pipeline.systems.hog_svm.params import HogSvm
from pipeline.systems.hog_svm.reach import window_reach


def main(stage: Stage) -> None:
    section, splits = stage.section(HogSvm), stage.params.data.fit_splits
    window, svm = section.window, section.svm
    stages = "systems/hog_svm/dvc.yaml:pyramids"
    images = WindowSet(
        [MapCache(stage.dep(f"features/hog_svm/{split}.zarr"), f"{stages}@{split}") for split in splits],
        [Index.load(stage.dep(f"data/index/{split}.json")) for split in splits],
        descriptor=descriptor_of(section.hog),
        margin=window.margin,
        difficult=section.difficult,
    )
    print(summary([window_reach(images.indices, section)]))
    components, assigned = components_of(*images.objects(), window.aspects, window.area, window.margin)
    positives = object_windows(images, components, assigned, svm.positive_iou, svm.max_positives)
    filters, report = train_filters(
        images,
        components,
        [each.vectors for each in positives],
        svm,
        svm.random_windows,
        seed=stage.params.seed,
        workers=stage.workers,
    )
    HogModel.fit(filters, positives).save(stage.out("models/hog_svm/filters.safetensors"))
    names = [f"{images.classes[each.label - 1]}, {each.shape.rows} x {each.shape.columns} cells" for each in components]
    print(report.table(names))
    stage.finish(len(images), "image", filters=len(filters), **report.as_json())


if __name__ == "__main__":
    run(main)
