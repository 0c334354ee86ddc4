import base64
import io
import re

import pytest
from PIL import Image

from pipeline.data.images import UnreadableImageError
from pipeline.evaluation.metrics import metrics, rankings
from pipeline.report.page import Results, render

PARAMETERS = {"seed": 1, "data": {"source": "voc", "root": "<root>", "classes": None}}
PROPOSALS = {"test": {"boxes": 1217, "recall": {"0.5": 0.911}}, "train": {"boxes": 7}}


@pytest.fixture
def results(indices, detections):
    test = indices["test"]
    figures = {name: metrics(test, found, rankings(test, found, 0.5), {}, 0.5) for name, found in detections.items()}
    return Results("voc", indices, figures, detections, PROPOSALS, PARAMETERS)


@pytest.fixture
def make(results, tmp_path):
    def call(images=24, min_score=None, **changes):
        return render(Results(**vars(results) | changes), tmp_path / "photos", images, min_score, 0.5)

    return call


def values(elements):
    return [float(element.attributes["value"]) for element in elements]


def test_the_figures_are_those_of_the_metrics(make, results, read_page):
    page = read_page(make())
    for name, figures in results.metrics.items():
        shown = page.find("data", inside=("data-system", name))
        assert values(shown) == [figures[key] for key in ("map_voc07", "map_voc", "map_coco")]
        assert [element.text for element in shown] == [f"{100 * value:.1f}" for value in values(shown)]
        assert values(page.find("data", inside=("data-errors", name))) == list(figures["errors"].values())
    for name in results.indices["test"].classes:
        shown = page.find("data", inside=("data-class", name))
        assert values(shown) == [figures["per_class"][name] for figures in results.metrics.values()]


def test_the_best_score_of_a_class_stands_out(make, read_page):
    best = [cell for cell in read_page(make()).find("td") if "best" in (cell.attributes.get("class") or "").split()]
    assert [cell.ancestors[-1].attributes["data-class"] for cell in best] == ["cat & <dog>", "car", "car"]


def test_the_dataset_is_summed_up(make, read_page):
    rows = [re.sub(r"\s+", " ", row.text).strip() for row in read_page(make()).find("div", inside=("class", "splits"))]
    assert rows == ["train1 images2 objects", "val0 images0 objects", "test4 images7 objects + 1 ignored"]


def test_proposals_and_parameters(make, read_page):
    page = read_page(make())
    assert values(page.find("data", inside=("data-proposals", "test"))) == [1217, 0.911]
    rows = dict.fromkeys(row.text.strip() for row in page.find("tr", inside=("class", "parameters")))
    assert list(rows) == ["seed1", "data.sourcevoc", "data.root<root>", "data.classesnull"]
    assert not read_page(make(proposals={})).find("section", inside=("id", "proposals"))


def test_nothing_comes_from_elsewhere(make, read_page):
    text = make()
    page = read_page(text)
    for element in page.elements:
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert re.match(r"data:|#|$", element.attributes.get(name) or ""), element.attributes[name][:80]
    assert not page.find("script")
    assert not page.find("link")
    assert not re.search(r"url\(|@import|https?:", text)


def test_the_photographs_are_inside_once_each(make, read_page):
    page = read_page(make())
    embedded = page.find("image")
    sizes = []
    for element in embedded:
        kind, data = element.attributes["href"].split(",")
        assert kind == "data:image/jpeg;base64"
        sizes.append(Image.open(io.BytesIO(base64.b64decode(data))).size)
    assert sizes == [(120, 80), (80, 120), (640, 320), (64, 64)]
    uses = [element.attributes["href"] for element in page.find("use")]
    assert uses == [f"#{element.attributes['id']}" for element in embedded for _ in ("rcnn", "ssd")]


def test_names_cannot_break_out(make, read_page):
    text = make()
    assert "<dog>" not in text
    assert "<root>" not in text
    page = read_page(text)  # which fails on tags that do not match
    assert not page.find("dog")
    assert any(element.text.strip() == "cat & <dog>" for element in page.find("th"))
    assert any("1 <b>.png" in element.text for element in page.find("p"))


def test_boxes_from_the_best_f1_on(make, read_page):
    """Class 1 of R-CNN is drawn down to its last correct detection, SSD's class without a correct one not at all."""
    page = read_page(make())
    tags = [element.text for element in page.find("text", inside=("class", "tag"))]
    assert sorted(tags) == ["cat & <dog> -0.50", "cat & <dog> -0.70", "cat & <dog> 0.90"]
    cells = [re.sub(r"\s+", " ", cell.text).strip() for cell in page.find("td", inside=("id", "images"))]
    assert cells == ["-0.700", "not drawn", "not drawn", "not drawn"]


def test_boxes_from_a_given_score_on(make, read_page):
    page = read_page(make(min_score=0.5))
    tags = [element.text for element in page.find("text", inside=("class", "tag"))]
    assert sorted(tags) == ["car 0.50", "cat & <dog> 0.90"]


def test_ground_truth_is_drawn_for_each_system(make, read_page):
    shapes = read_page(make(images=1)).find("title", inside=("class", "truth"))
    assert [shape.text for shape in shapes] == 2 * ["cat & <dog> (ground truth)", "car (ground truth)"]


def test_one_system(make, results, read_page):
    page = read_page(make(metrics={"rcnn": results.metrics["rcnn"]}, detections={"rcnn": results.detections["rcnn"]}))
    assert page.find("h1")[0].text == "voc: 2 classes, 1 detector"
    assert [box.attributes["id"] for box in page.find("input")] == ["show-truth", "show-found", "show-tags"]


def test_before_any_system_is_evaluated(make, read_page):
    page = read_page(make(metrics={}, detections={}, proposals={}))
    assert any("No system has been evaluated yet" in element.text for element in page.find("p"))
    assert len(page.find("use")) == 4
    assert len(page.find("g", inside=("class", "truth"))) == 8


def test_without_pictures_and_without_objects(make, results, read_page):
    assert not read_page(make(images=0)).find("image")
    nothing = results.metrics["rcnn"] | {"map_voc07": None, "map_voc": None, "map_coco": None}
    page = read_page(make(metrics=results.metrics | {"rcnn": nothing}))
    assert page.find("data", inside=("data-system", "rcnn")) == []


def test_the_same_bytes_twice(make):
    assert make() == make()


def test_a_missing_image_is_named(make, tmp_path):
    (tmp_path / "photos" / "2 <b>.png").unlink()
    with pytest.raises(UnreadableImageError, match=r"2 <b>\.png: the image does not exist"):
        make()


def test_recall_is_drawn_where_it_is_known(make):
    assert "recall over number of proposals" not in make()
    rows = [{"boxes": count, "recall_50": 0.5, "recall_70": 0.4} for count in (1, 10)]
    text = make(recall={"RPN": rows, "selective search": rows})
    assert text.count("recall over number of proposals") == 2
    assert text.index(">RPN<") < text.index("recall over number of proposals")


def test_times_and_costs_are_shown_where_there_are_any(make, read_page):
    assert not read_page(make()).find("tr", inside=("id", "times"))
    place = {"device": "cpu", "device_name": "<processor>", "threads": 2, "torch": "2.11"}
    figures = {**place, "heads_median": 0.0125, "without_proposals_median": 0.2, "total_median": 0.25, "total_p95": 0.5}
    cost = {"seconds": 61.5, "seen": 12800, "unit": "window", "memory_mb": 900, "gpu_memory_mb": 0, "resumed": True}
    page = read_page(make(timing={"rcnn": figures, "ssd": figures}, costs={"rcnn_finetune": cost}))
    for system in ("rcnn", "ssd"):
        cells = [cell.text for cell in page.find("td", inside=("data-times", system))]
        assert cells == ["12.5", "250.0", "500.0", *2 * ["1.0\N{MULTIPLICATION SIGN}"], "\N{EN DASH}"]
    cells = [cell.text for cell in page.find("td", inside=("data-cost", "rcnn_finetune"))]
    assert cells == ["61.5 after a resume", "12,800 windows", "900", "0"]
