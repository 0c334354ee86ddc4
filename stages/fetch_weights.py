"""Download published ImageNet weights, where params ask for them; writes data/weights."""

from pathlib import Path

from pipeline.core.storage import atomic
from pipeline.stage import Stage, run


def main(stage: Stage) -> None:
    backbone, target = stage.params.backbone, stage.out("data/weights")
    with atomic(target) as folder:
        folder.mkdir()
        if Path(backbone.weights) != target or backbone.init == "random":
            text = "Nothing was downloaded: backbone.init or backbone.weights asks for none.\n"
            (folder / "README.txt").write_text(text, encoding="utf-8")
            return
        from pipeline.nets import weights

        tensors, source = weights.download(backbone.network)
        origin = {"network": backbone.network, "source": source}
        weights.save(folder / "backbone.safetensors", tensors, origin)


if __name__ == "__main__":
    run(main)
