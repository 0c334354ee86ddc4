"""Download a network's published ImageNet weights, where params ask for them; writes data/weights/NETWORK.

python -m stages.fetch_weights vgg16
"""

from pathlib import Path
from typing import cast

from pipeline.core.sections import Network
from pipeline.core.storage import atomic
from pipeline.stage import Stage, run


def main(stage: Stage) -> None:
    network = cast(Network, stage.args[0])
    backbone, target = stage.params.backbones[network], stage.out(f"data/weights/{network}")
    with atomic(target) as folder:
        folder.mkdir()
        if Path(backbone.weights) != target or backbone.init == "random":
            text = f"Nothing was downloaded: backbones.{network} asks for none.\n"
            (folder / "README.txt").write_text(text, encoding="utf-8")
            return
        from pipeline.nets import weights

        tensors, source = weights.download(network)
        weights.save(folder / f"{network}.safetensors", tensors, {"network": network, "source": source})


if __name__ == "__main__":
    run(main)
