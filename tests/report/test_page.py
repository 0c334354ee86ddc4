import base64
import hashlib
import io
import json
import re
from dataclasses import replace

import pytest
from PIL import Image

from pipeline.data.images import UnreadableImageError
from pipeline.registry import System, all_systems
from pipeline.report.page import render

DASH = "\N{EN DASH}"
PARAMETERS = {"seed": 1, "data": {"source": "voc", "root": "<root>", "classes": None}}
PROPOSALS = {
    "proposals_test": {"metrics": {"boxes": 1217, "recall": {"0.5": 0.911}}},
    "proposals_train": {"metrics": {"boxes": 7}},
}
PLACE = {"device": "cpu", "device_name": "<processor>", "threads": 2, "torch": "2.11"}
TIMES = {**PLACE, "heads_median": 0.0125, "without_proposals_median": 0.2, "total_median": 0.25, "total_p95": 0.5}
COST = {"seconds": 61.5, "seen": 12800, "unit": "window", "memory_mb": 900, "gpu_memory_mb": 0, "resumed": True}


@pytest.fixture
def results(make_results):
    return make_results()


@pytest.fixture
def make(make_results, tmp_path):
    def call(images=None, min_score=None, **changes):
        results = make_results(min_score=min_score, **changes)
        return render(results, tmp_path / "photos", images, min_score, 0.5, 0.95)

    return call


def values(elements):
    return [float(element.attributes["value"]) for element in elements]


def pictures(page):
    """Return what the script of the page draws."""
    [data] = [script.text for script in page.find("script") if script.attributes.get("id") == "pictures"]
    return json.loads(data)


def test_the_figures_are_those_of_the_metrics(make, results, read_page):
    page = read_page(make())
    for name, figures in results.metrics.items():
        shown = [page.find("data", inside=("data-system", name))[i] for i in range(3)]
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
    page = read_page(make(stages={"shared": PROPOSALS}, parameters=PARAMETERS))
    assert values(page.find("data", inside=("data-proposals", "test"))) == [1217, 0.911]
    rows = dict.fromkeys(row.text.strip() for row in page.find("tr", inside=("class", "parameters")))
    assert list(rows) == ["seed1", "data.sourcevoc", "data.root<root>", "data.classesnull"]
    assert 'id="proposals"' not in make()


def test_intervals_and_sizes_are_shown_where_there_are_any(make, results, read_page):
    without = {name: {k: v for k, v in found.items() if k != "by_size"} for name, found in results.metrics.items()}
    page = read_page(make(metrics=without))
    assert not page.find("small", inside=("data-metric", "map_voc"))
    assert not page.find("tr", inside=("data-sizes", "rcnn"))
    ends = {"low": 0.25, "high": 0.75}
    more = {
        "intervals": {"map_voc07": ends, "map_voc": ends, "map_coco": None},
        "by_size": {"small": None, "large": 0.5},
    }
    page = read_page(make(metrics=without | {"rcnn": without["rcnn"] | more}))
    spans = page.find("data", inside=("class", "span"))
    assert values(spans) == [0.25, 0.75, 0.25, 0.75]
    assert [cell.text.strip() for cell in page.find("td", inside=("data-sizes", "rcnn"))] == [DASH, DASH, "50.0"]
    assert [cell.text.strip() for cell in page.find("td", inside=("data-sizes", "ssd"))] == [DASH, DASH, DASH]


def test_nothing_comes_from_elsewhere(make, read_page):
    text = make()
    page = read_page(text)
    for element in page.elements:
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert re.match(r"data:|#|$", element.attributes.get(name) or ""), element.attributes[name][:80]
    assert not page.find("link")
    namespace = '"http://www.w3.org/2000/svg"'  # by which the script makes elements of SVG; a name, not an address
    assert text.count(namespace) == 1
    assert not re.search(r"url\(|@import|https?:", text.replace(namespace, ""))


def test_only_the_page_s_own_script_may_run(make, read_page):
    page = read_page(make())
    [script] = [each for each in page.find("script") if "type" not in each.attributes]
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    [policy] = [element for element in page.find("meta") if "http-equiv" in element.attributes]
    assert policy.attributes["content"] == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    assert not [name for element in page.elements for name in element.attributes if name.startswith("on")]


def test_the_photographs_are_inside_once_each(make, read_page):
    photos = [base64.b64decode(image["photo"]) for image in pictures(read_page(make()))["images"]]
    assert [Image.open(io.BytesIO(photo)).size for photo in photos] == [(120, 80), (80, 120), (640, 320), (64, 64)]
    assert {Image.open(io.BytesIO(photo)).format for photo in photos} == {"WEBP"}


def test_names_cannot_break_out(make, read_page):
    text = make(timing={"rcnn": TIMES})
    assert "<dog>" not in text
    assert "<processor>" not in text
    page = read_page(text)  # which fails on tags that do not match
    assert not page.find("dog")
    assert any(element.text.strip() == "cat & <dog>" for element in page.find("th"))
    assert pictures(page)["images"][0]["file"] == "1 <b>.png"
    assert pictures(page)["classes"][0][0] == "cat & <dog>"


def test_what_errors_cost(make, results, read_page):
    page = read_page(make())
    for name, cost in results.metrics["rcnn"]["ap_costs"].items():
        assert values(page.find("data", inside=("data-cost-of", name)))[0] == cost
    assert results.metrics["rcnn"]["ap_costs"]["Bkg"] > 0


def test_the_confusion_matrices(make, results, read_page):
    """R-CNN finds two of the four cats, has a false cat in image 1 and misses the rest; SSD has a false car."""
    assert results.metrics["rcnn"]["confusion"] == [[2, 0, 2], [0, 0, 3], [1, 0, 0]]
    page = read_page(make())
    cells = page.find("title", inside=("data-matrix", "rcnn"))
    assert [cell.text for cell in cells] == [
        "cat & <dog> found: 2",
        "cat & <dog> missed: 2",
        "car missed: 3",
        "background taken for cat & <dog>: 1",
    ]


def test_the_thresholds_are_those_of_the_best_f1(make, read_page):
    page = read_page(make())
    assert values(page.find("data", inside=("data-threshold", "cat & <dog>"))) == [-0.7, 0.571429]
    assert [cell.text.strip() for cell in page.find("td", inside=("data-threshold", "car"))] == [DASH, DASH]
    assert [path.text for path in page.find("path", inside=("data-f1", "rcnn"))[2:]] == ["cat & <dog>"]


def test_figures_of_an_older_run_are_left_out(make, results, read_page):
    lacking = ("ap_costs", "operating", "confusion")
    older = {
        name: {key: value for key, value in figures.items() if key not in lacking}
        for name, figures in results.metrics.items()
    }
    page = read_page(make(metrics=older))
    assert not page.find("svg", inside=("data-matrix", "rcnn"))
    assert not page.find("tr", inside=("data-cost-of", "Cls"))


def test_boxes_from_the_best_f1_on(make, read_page):
    """R-CNN is drawn down to its last correct detection; SSD, which has none, from its greatest score on."""
    systems = pictures(read_page(make()))["systems"]
    assert [(each["name"], each["start"]) for each in systems] == [("rcnn", [-0.7, -0.7]), ("ssd", [0.5, 0.5])]


def test_boxes_from_a_given_score_on(make, read_page):
    page = read_page(make(min_score=0.25))
    assert [each["start"] for each in pictures(page)["systems"]] == [[0.25, 0.25]] * 2
    assert any("drawn from score 0.25 on" in each.text for each in page.find("p", inside=("id", "images")))


def test_each_box_has_its_class_type_and_score(make, read_page):
    """Image 1: the box on the cat is correct, the other touches the car by less than a tenth of their union."""
    images = pictures(read_page(make()))["images"]
    found = [row[:3] for image in images for system in image["systems"] for row in system["found"]]
    assert found == [[1, "BG", 0.9], [1, "Correct", -0.5], [1, "Correct", -0.7], [1, "BG", -0.9], [2, "BG", 0.5]]


def test_the_text_says_which_images_there_are(make, read_page):
    def said(images):
        return next(each.text for each in read_page(make(images=images)).find("p", inside=("id", "images")))

    assert said(None).startswith("All 4 test images.")
    assert said(2).startswith("2 of 4 test images: the worst of each system and others spread evenly")
    assert "as report.images says" in said(2)


def test_one_system(make, read_page):
    page = read_page(make(evaluated=["rcnn"]))
    assert page.find("p")[0].text == "boxline report: voc, 2 classes, 1 detector"
    boxes = page.find("input", inside=("aria-label", "What the pictures show"))
    names = [box.attributes["name"] for box in boxes]
    assert names == ["hide-truth", "hide-detections", "hide-tags", "by-type", "many"]


def test_before_any_system_is_evaluated(make, read_page):
    page = read_page(make(evaluated=()))
    assert any("No system has been evaluated yet" in element.text for element in page.find("p"))
    content = pictures(page)
    assert (content["systems"], len(content["images"])) == ([], 4)
    assert [each[1] for image in content["images"] for each in image["objects"]] == [0] * 7 + [1]
    assert not page.find("select")


def test_without_pictures_and_without_objects(make, results, read_page):
    assert 'id="images"' not in make(images=0)
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
    shared, rpn = {"proposals_test": {"recall": {"recall": rows}}}, {"proposals2": {"recall": {"test": rows}}}
    text = make(stages={"shared": shared, "rcnn": rpn})
    assert text.count("recall over number of proposals") == 2
    assert text.index(">R-CNN, proposals2<") < text.index("recall over number of proposals")


def test_times_are_shown_where_there_are_any(make, read_page):
    assert not read_page(make()).find("tr", inside=("id", "times"))
    page = read_page(make(timing={"rcnn": TIMES, "ssd": TIMES | {"total_median": 0.125}}))
    for phase, cells in {"heads": ["12.5", "12.5"], "total": ["250.0", "125.0"], "p95": ["500.0", "500.0"]}.items():
        assert [cell.text for cell in page.find("td", inside=("data-phase", phase))] == cells
    speedups = [page.find("td", inside=("data-speed", system))[0].text for system in ("rcnn", "ssd")]
    assert speedups == ["1.0\N{MULTIPLICATION SIGN}", "2.0\N{MULTIPLICATION SIGN}"]


def test_how_many_boxes_were_scored_stands_with_the_times(make, read_page):
    stages = {"rcnn": {"detect": {"metrics": {"boxes_scored": 1453.5}}}}
    page = read_page(make(timing={"rcnn": TIMES, "ssd": TIMES}, stages=stages))
    assert [cell.text for cell in page.find("td", inside=("data-phase", "boxes"))] == ["1,454", "\N{EN DASH}"]
    assert not read_page(make(timing={"rcnn": TIMES})).find("td", inside=("data-phase", "boxes"))


def test_a_long_time_is_in_seconds(make, read_page):
    page = read_page(make(timing={"rcnn": TIMES | {"total_median": 2.302}, "ssd": TIMES}))
    assert [each.text for each in page.find("b", inside=("id", "times"))] == ["2.3 s", "250 ms"]


def test_times_are_compared_with_the_earliest_system(make):
    assert ">Faster than SSD<" in make(evaluated=["ssd"], timing={"ssd": TIMES})


def test_costs_and_figures_of_stages(make, read_page):
    stages = {
        "shared": {"pretrain": {"metrics": {"steps": 600}}},
        "rcnn": {"finetune": COST, "svd": {"metrics": {"map": {"full": 0.5}}, "timing": {"device": "cpu"}}},
    }
    page = read_page(make(stages=stages))
    cells = [cell.text for cell in page.find("td", inside=("data-cost", "rcnn/finetune"))]
    assert cells == ["61.5 after a resume", "12,800 windows", "900"]
    assert [cell.text for cell in page.find("td", inside=("data-stage", "shared/pretrain"))] == ["steps 600"]
    assert [cell.text for cell in page.find("td", inside=("data-stage", "rcnn/svd"))] == ["map.full 0.5 device cpu"]
    stages["rcnn"] = {"finetune": COST | {"cpu_seconds": 101.25, "gpu_memory_mb": 7}, "svm": COST}
    page = read_page(make(stages=stages))
    cells = [cell.text for cell in page.find("td", inside=("data-cost", "rcnn/finetune"))]
    assert cells == ["61.5 after a resume", "101.2", "12,800 windows", "900", "7"]


def test_the_first_screen_needs_scores_and_times(make, results, read_page):
    assert read_page(make()).find("h1")[0].text == "Detectors on voc"
    page = read_page(make(timing={"rcnn": TIMES, "ssd": TIMES | {"total_median": 0.01}}))
    score = {name: 100 * results.metrics[name]["map_voc07"] for name in ("rcnn", "ssd")}
    headline = page.find("h1")[0].text.replace("\N{NO-BREAK SPACE}", " ")
    assert headline == f"From R-CNN to SSD: 25 times faster, mAP {score['rcnn']:.1f} to {score['ssd']:.1f}"
    dots = [group.attributes["data-dot"] for group in page.find("g") if "data-dot" in group.attributes]
    assert sorted(dots) == ["rcnn", "rcnn", "ssd", "ssd"]  # in the wide chart and in the narrow one
    assert "published" in {group.attributes.get("class") for group in page.find("g", inside=("id", "headline"))}


def test_artifacts_and_versions(make, read_page):
    sizes = {"features/rcnn/test.zarr": 2_000_000, "features/rcnn/val.zarr": 500_000, "models/net": 999}
    page = read_page(make(artifacts=sizes, versions={"torch": "2.11"}))
    assert [cell.text for cell in page.find("td", inside=("data-artifact", "features/rcnn"))] == ["2.5 MB"]
    assert [cell.text for cell in page.find("td", inside=("data-version", "torch"))] == ["2.11"]


def test_error_trends_are_drawn_where_there_are_any(make, read_page):
    rows = [{"errors": n, "Loc": 0.5, "Sim": 0.0, "Oth": 0.25, "BG": 0.25} for n in (1, 10)]
    page = read_page(make(errors={"ssd": rows, "rcnn": rows[:1]}))
    areas = page.find("path", inside=("data-trend", "ssd"))
    assert [area.text for area in areas if area.attributes["class"] == "area"] == ["Loc", "Oth", "BG"]
    assert not page.find("path", inside=("data-trend", "rcnn"))


def test_a_system_with_nothing_but_scores(make, results, read_page):
    """No paper, no stages, no curves, no proposals: the least that a new system brings."""
    toy = System("toy", "Toy", "nobody", "2030-01", "#123456", 0.5)
    changes = {"systems": {"toy": toy}, "timing": {"toy": TIMES}, "stages": {"toy": {"train": COST}}}
    for name in ("metrics", "shown", "f1"):
        changes[name] = {"toy": getattr(results, name)["rcnn"]}
    page = read_page(make(**changes, curves={"toy": {}}))
    assert page.find("h1")[0].text.startswith("Toy: mAP ")
    assert len(page.find("td", inside=("data-speed", "toy"))) == 4
    assert "published" not in {group.attributes.get("class") for group in page.find("g")}
    assert page.find("tr", inside=("id", "facts"))


def test_whole_images_have_a_row_for_each_system_that_classifies_them(make, read_page) -> None:
    stages = {name: {"classify": {"metrics": {"map_voc07": 0.5, "map_voc": 0.25}}} for name in ("rcnn", "ssd")}
    page = read_page(make(stages=stages))
    for name in stages:
        assert [cell.text for cell in page.find("td", ("data-whole", name))] == ["50.0", "25.0"]
    assert not read_page(make()).find("tr", ("data-whole", "rcnn"))
    assert "Classification of whole images" not in make()


LOCALISER = replace(all_systems()["ssd"], name="localiser", title="Localiser", task="localise")
ERRORS = {
    "classification_error_top1": 0.25,
    "classification_error_top5": None,
    "localisation_error_top1": 0.5,
    "localisation_error_top5": None,
    "images": 4,
    "intervals": {"localisation_error_top1": {"low": 0.375, "high": 0.625}},
}


@pytest.fixture
def with_localiser(make_results):
    """Return results of R-CNN, a detector, and of a system that localises."""

    def call(detectors=("rcnn",), **changes):
        alone = make_results(detectors)
        guesses = {"localiser": make_results(["ssd"]).shown["ssd"]}
        return replace(
            alone,
            systems={**alone.systems, "localiser": LOCALISER},
            metrics={**alone.metrics, "localiser": ERRORS},
            shown={**alone.shown, **guesses},
            **changes,
        )

    return call


def test_tasks_are_shown_apart(with_localiser, read_page, tmp_path):
    timing = {"rcnn": TIMES, "localiser": TIMES | {"total_median": 0.005}}
    page = read_page(render(with_localiser(timing=timing), tmp_path / "photos", None, None, 0.5, 0.95))
    assert page.find("p")[0].text == "boxline report: voc, 2 classes, 1 detector and 1 localiser"
    assert page.find("h1")[0].text.startswith("R-CNN: mAP ")
    assert len(page.find("tr", inside=("id", "scores"))) > 0
    assert [cell.text for cell in page.find("td", inside=("data-localises", "localiser"))] == [
        f"50.037.5{DASH}62.5",
        DASH,
        "25.0",
        DASH,
    ]
    for kind in ("data-system", "data-errors", "data-speed", "data-matrix", "data-f1"):
        assert not page.find("td", inside=(kind, "localiser")), kind
    assert [each.text for each in page.find("h3", inside=("id", "times"))][:3] == [
        "Where it goes",
        "Milliseconds by phase",
        "Where it goes: localisation",
    ]
    assert [row.text for row in page.find("b", inside=("id", "times"))] == ["250 ms", "5 ms"]
    drawn = pictures(page)["systems"]
    assert [each["name"] for each in drawn] == ["rcnn", "localiser"]


def test_a_detector_with_a_stage_that_localises_stands_beside_localisers(with_localiser, read_page, tmp_path):
    stages = {"rcnn": {"localise": {"metrics": ERRORS | {"localisation_error_top1": 0.75, "intervals": {}}}}}
    page = read_page(render(with_localiser(stages=stages), tmp_path / "photos", None, None, 0.5, 0.95))
    first, *_ = (cell.text for cell in page.find("td", inside=("data-localises", "rcnn")))
    assert first == "75.0"
    assert page.find("td", inside=("data-localises", "localiser"))


def test_a_localiser_alone(with_localiser, read_page, tmp_path):
    alone = with_localiser((), timing={"localiser": TIMES})
    page = read_page(render(alone, tmp_path / "photos", None, None, 0.5, 0.95))
    assert page.find("p")[0].text == "boxline report: voc, 2 classes, 1 localiser"
    assert page.find("h1")[0].text == "Localisation on voc"
    assert "No system has been evaluated yet." not in [each.text for each in page.find("p")]
    assert len(page.find("td", inside=("data-localises", "localiser"))) == 4
    assert not page.find("section", inside=("id", "errors"))
    assert "Faster than" not in "".join(each.text for each in page.find("h3"))
