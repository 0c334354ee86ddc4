"""Check the dataset and list its images; reads the source, writes data/index/{train,val,test}.json and report.json."""

from pathlib import Path

from pipeline import params
from pipeline.core import runtime
from pipeline.core.storage import atomic, write_json
from pipeline.data.dataset import read_dataset

INDEX = Path("data/index")


def main() -> None:
    p = params.load()
    dataset = read_dataset(p.data, p.seed, p.runtime.workers)
    with atomic(INDEX) as folder:
        folder.mkdir()
        for split, index in dataset.splits.items():
            index.save(folder / f"{split}.json")
        write_json(folder / "report.json", dataset.report.as_json())
    print(dataset.report.table())


if __name__ == "__main__":
    runtime.run(main)
