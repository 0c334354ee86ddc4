"""What each stage's script runs, as hashes of the files' meaning; writes code/STAGE, one small text file for each
stage.

    python -m stages.code

Every other stage depends on its file, so that an edit re-runs the stages that it reaches and no others.
"""

from pathlib import Path

from pipeline.core.code import code_file, stage_names
from pipeline.core.storage import atomic

CODE = Path("code")


def main() -> None:
    with atomic(CODE) as folder:
        for name in stage_names(Path()):
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(code_file(name, Path()), encoding="utf-8")


if __name__ == "__main__":
    main()
