"""The README's and the docs' Python, run as it stands there."""

import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("document", "system"), [("README.md", "ssd"), ("docs/timing.md", "faster_rcnn")])
def test_the_code_runs_on_a_picture(make, document: str, system: str, tmp_path: Path, monkeypatch, capsys) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "pipeline.registry" in block]
    made = make(system)
    monkeypatch.chdir(tmp_path)
    Path("models").symlink_to(made.models)
    Image.fromarray(made.images[0]).save("picture.jpg")
    names: dict = {}
    exec(code, names)
    assert names["detector"].system == system
    assert len(names["found"].labels) > 0
    assert names["detector"].classes[names["found"].labels[0] - 1] in capsys.readouterr().out
