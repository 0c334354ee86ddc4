"""One script a stage of dvc.yaml, run as ``python -m stages.NAME``."""

import pipeline  # noqa: F401  (sets up the process before any stage imports torch)
