"""SPP-net, stage 4: ridge regression of boxes from pooled windows; writes models/sppnet/bbox.safetensors."""

from pipeline.linear.ridge import train_box_regressor
from pipeline.stage import Stage, run
from pipeline.systems.sppnet.features import training_set
from pipeline.systems.sppnet.params import Sppnet


def main(stage: Stage) -> None:
    sppnet = stage.section(Sppnet)
    regions = training_set(stage.dep, stage.params.data.fit_splits, stage.device, sppnet.difficult)
    regressor, counts = train_box_regressor(regions, sppnet.bbox, seed=stage.params.seed)
    regressor.save(stage.out("models/sppnet/bbox.safetensors"))
    for name, count in zip(regions.classes, counts, strict=True):
        print(f"{name}: {count} windows")
    stage.finish(len(regions), "image")


if __name__ == "__main__":
    run(main)
