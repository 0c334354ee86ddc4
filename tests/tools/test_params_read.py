"""Which parameters a script reads, from small scripts."""

from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.tools.params_read import keys_read, without_children

HEAD = "from pipeline import params\n"


def read(tmp_path: Path, body: str) -> set[str]:
    script = tmp_path / "script.py"
    script.write_text(HEAD + body)
    return keys_read(script)


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        ("p = params.load()\nf(p.seed, p.rcnn.svm)", {"seed", "rcnn.svm"}),
        ("p: params.Params = params.load()\nf(p.seed)", {"seed"}),
        ("f(params.load().rcnn.svm.C)", {"rcnn.svm.C"}),
        ("def main():\n    p = params.load(path)\n    return [p.rcnn.region.size for _ in x]", {"rcnn.region.size"}),
        ("p = params.load()\nf(p.rcnn.svm.C, p.rcnn.svm, p.rcnn.svm.layer)", {"rcnn.svm"}),
        ("p = params.load()\nsection = p.rcnn.svm\nf(section.C)", {"rcnn.svm"}),
        ("p = params.load()\nf(p.rcnn.svm.model_dump())", {"rcnn.svm"}),
        ("p = params.load()\nf(p.backbone.weights.split('/'))", {"backbone.weights"}),
        ("p = params.load()\nf(p.runtime.device, p.runtime, p.data.root, p.seed)", {"seed"}),
        ("q = 1\nf(q.seed)", set()),
        ("", set()),
    ],
)
def test_chains_name_the_keys(tmp_path: Path, body: str, keys: set[str]) -> None:
    assert read(tmp_path, body) == keys


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("p = params.load()\nf(p)", "line 3: hands all parameters on"),
        ("f(params.load())", "line 2: hands all parameters on"),
        ("p = params.load()\nq = p", "line 3: hands all parameters on"),
        ("p = params.load()\nf(p.rcn.svm)", "line 3: rcn.svm is no parameter"),
        ("p = params.load()\nf(p.rcnn.svm.c)", "line 3: rcnn.svm.c is no parameter"),
        ("p = params.load()\nf(p.model_dump())", "line 3: model_dump is no parameter"),
    ],
)
def test_a_script_that_hides_what_it_reads_is_refused(tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(tmp_path, body)


def test_a_key_stands_for_all_below_it() -> None:
    assert without_children(["a.b.c", "a.b", "a.bc", "d"]) == {"a.b", "a.bc", "d"}
