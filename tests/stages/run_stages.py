"""Run the stages of a project's graph in one process, in the order of their inputs: imports are paid once.

    python run_stages.py FOLDER

Each stage's ``main`` gets what ``dvc repro`` would give it: its declaration, its arguments and the parameters.
"""

import os
import sys
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path


def below(path: str, other: str) -> bool:
    """Say whether one of two paths is inside the other, or is the other."""
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


def run(*targets: str) -> None:
    """Run the stages that the ``targets`` need, and these, in the working folder; without targets all stages."""
    from pipeline import params
    from pipeline.stage import Stage, declarations

    p = params.load()
    stages = {each.address: each for each in declarations(p)}
    before = {
        address: [o.address for o in stages.values() if any(below(d, out) for d in stage.deps for out in o.outs)]
        for address, stage in stages.items()
    }
    needed, found = set(), list(targets or stages)
    while found:
        needed.add(address := found.pop())
        found += before[address]
    for address in TopologicalSorter({address: before[address] for address in needed}).static_order():
        module, *arguments = stages[address].command.split()[2:]
        script = import_module(module)
        if address == "code":
            script.main()
        else:
            script.main(Stage(stages[address], tuple(arguments), p))
        missing = [out for out in stages[address].outs if not Path(out).exists()]
        assert not missing, f"{address} left out {missing}"


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    run()
