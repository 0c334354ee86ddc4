"""Check the dataset and list its images; reads the source, writes data/index/{train,val,test}.json and report.json."""

from pipeline.core.storage import atomic, write_json
from pipeline.data.dataset import read_dataset
from pipeline.stage import Stage, run


def main(stage: Stage) -> None:
    p = stage.params
    dataset = read_dataset(p.data, p.runtime.workers)
    with atomic(stage.out("data/index")) as folder:
        folder.mkdir()
        for split, index in dataset.splits.items():
            index.save(folder / f"{split}.json")
        write_json(folder / "report.json", dataset.report.as_json())
    print(dataset.report.table())


if __name__ == "__main__":
    run(main)
