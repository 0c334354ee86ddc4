"""Download published ImageNet weights, where params ask for them; writes data/weights."""

from pathlib import Path

from pipeline import params
from pipeline.core import runtime
from pipeline.core.storage import atomic

WEIGHTS = Path("data/weights")
PUBLISHED = "backbone.safetensors"


def main() -> None:
    p = params.load()
    with atomic(WEIGHTS) as folder:
        folder.mkdir()
        if Path(p.backbone.weights) != WEIGHTS or p.backbone.init == "random":
            (folder / "README.txt").write_text(
                "Nothing was downloaded: backbone.init or backbone.weights asks for none.\n"
            )
            return
        from pipeline.nets import weights

        origin = {"network": p.backbone.network, "source": "torchvision IMAGENET1K_V1"}
        weights.save(folder / PUBLISHED, weights.from_torchvision(p.backbone.network), origin)


if __name__ == "__main__":
    runtime.run(main)
