"""The page in headless Chromium: what a person sees, moves and reads. Skipped where there is no Chromium or driver."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest

from pipeline.core.colours import class_colour
from pipeline.report.colours import TYPE_COLOURS
from pipeline.report.page import render

selenium = pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import SessionNotCreatedException  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

PLACE = {"device": "cpu", "device_name": "a processor", "threads": 2, "torch": "2.11", "heads_median": 0.2}
TIMING = {
    "rcnn": {**PLACE, "without_proposals_median": 0.2, "total_median": 0.25, "total_p95": 0.5},
    "ssd": {**PLACE, "without_proposals_median": 0.01, "total_median": 0.01, "total_p95": 0.02},
}


@pytest.fixture(scope="module")
def browser():
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip(f"{'chromium' if chromium is None else 'chromedriver'} is not installed")
    options = Options()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        browser = webdriver.Chrome(options=options, service=Service(driver))
    except SessionNotCreatedException as error:
        pytest.skip(f"chromium does not start: {error.msg}")
    yield browser
    browser.quit()


@pytest.fixture
def results(make_results):
    stages = {"rcnn": {"a_stage_with_a_long_name": {"metrics": dict.fromkeys(("one", "two", "three"), 0.125)}}}
    return make_results(timing=TIMING, stages=stages)


@pytest.fixture
def page(browser, results, tmp_path):
    """Open the page on a desk's screen, with all its images, and return what can be done with it."""
    file = tmp_path / "page.html"
    file.write_text(render(results, tmp_path / "photos", None, None, 0.5, 0.95), encoding="utf-8")
    width(browser, 1200)
    browser.get(file.as_uri())
    browser.find_element(By.NAME, "many").click()

    def drawn():
        """Return (system, score, type) of the boxes that are to be seen on any image."""
        return sorted(
            (system, float(score), kind)
            for system, score, kind in browser.execute_script(
                "return [...document.querySelectorAll('.d')].filter(d => getComputedStyle(d).display !== 'none')"
                ".map(d => [d.closest('figure').dataset.system, d.dataset.score, d.dataset.type])"
            )
        )

    def images():
        """Return the numbers of the images that are to be seen."""
        articles = browser.find_elements(By.TAG_NAME, "article")
        return [int(article.get_attribute("data-number")) for article in articles if article.is_displayed()]

    def missed(system):
        """Return how many objects stand out as missed by a system, over all images."""
        return len(browser.find_elements(By.CSS_SELECTOR, f"figure[data-system={system}] .o.missed"))

    def slide(position):
        browser.execute_script(
            "const s = document.getElementById('score'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('input', {bubbles: true}))",
            position,
        )

    def choose(kind):
        browser.find_element(By.CSS_SELECTOR, f"input[name=type][value='{kind}']").find_element(By.XPATH, "..").click()

    def layer(name):
        browser.find_element(By.NAME, name).click()

    def show(words):
        Select(browser.find_element(By.ID, "list")).select_by_visible_text(words)

    def count():
        return browser.find_element(By.ID, "count").text

    return SimpleNamespace(
        drawn=drawn, images=images, missed=missed, slide=slide, choose=choose, layer=layer, show=show, count=count
    )


def width(browser, pixels):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )


BEST, OTHERS = [("rcnn", 0.9, "BG")], [("rcnn", -0.7, "Correct"), ("rcnn", -0.5, "Correct")]
SSD = [("ssd", 0.5, "BG")]


def test_no_error_and_no_request(page, browser):
    page.slide(10)
    page.choose("Correct")
    assert browser.get_log("browser") == []
    entries = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    urls = [entry["params"]["request"]["url"] for entry in entries if entry["method"] == "Network.requestWillBeSent"]
    assert urls
    assert all(url.startswith(("file:", "data:")) for url in urls)


def test_the_slider_hides_and_shows_detections(page, browser):
    assert page.drawn() == [*OTHERS, *BEST, *SSD]
    page.slide(0)
    assert page.drawn() == [("rcnn", -0.9, "BG"), *OTHERS, *BEST, *SSD]
    page.slide(51)
    assert page.drawn() == [OTHERS[1], *BEST, *SSD]
    page.slide(100)
    assert page.drawn() == [*BEST, *SSD]
    assert browser.find_element(By.CSS_SELECTOR, "article .from").text == "from 0.90"
    page.slide(50)
    assert page.drawn() == [*OTHERS, *BEST, *SSD]


def test_the_slider_obeys_the_keyboard(page, browser):
    browser.find_element(By.ID, "score").send_keys(Keys.END)
    assert page.drawn() == [*BEST, *SSD]
    browser.find_element(By.ID, "score").send_keys(Keys.HOME)
    assert len(page.drawn()) == 5


def test_objects_are_missed_below_the_score_that_finds_them(page):
    """Seven objects count; R-CNN finds two cats, at -0.5 and at -0.7."""
    assert (page.missed("rcnn"), page.missed("ssd")) == (5, 7)
    page.slide(51)
    assert page.missed("rcnn") == 6
    page.slide(100)
    assert page.missed("rcnn") == 7


def test_types_are_filtered_and_images_without_them_hidden(page, browser):
    page.choose("Correct")
    assert page.drawn() == OTHERS
    assert page.count() == "Images 1 to 2 of 2 that match, of 4"
    assert page.images() == [1, 2]
    page.choose("Sim")
    assert page.drawn() == []
    assert page.images() == []
    page.choose("Missed")
    assert page.drawn() == []
    assert page.missed("ssd") == 7
    page.choose("BG")
    assert page.drawn() == [*BEST, *SSD]
    assert page.missed("ssd") == 0
    assert page.images() == [1, 4]


def test_classes_are_filtered(page, browser):
    Select(browser.find_element(By.ID, "class")).select_by_visible_text("car")
    assert page.drawn() == SSD
    assert (page.missed("rcnn"), page.missed("ssd")) == (3, 3)


def test_the_worst_images_of_a_system(page):
    """R-CNN misses a car in image 1 and has an error there that outranks all, two objects in 3, one in 2 and 4."""
    page.show("the images with the worst errors: R-CNN")
    assert page.images() == [1, 3, 2, 4]
    page.layer("many")
    assert page.count() == "Image 1 of 4: errors of R-CNN that weigh 2.00"
    page.choose("BG")
    assert page.images() == [1]
    page.show("the images with the worst errors: SSD")
    page.choose("")
    page.layer("many")
    assert page.images() == [1, 2, 3, 4]


def test_the_surest_errors_of_a_system(page, browser):
    page.show("the surest errors: R-CNN")
    page.layer("many")
    assert page.images() == [1]
    assert page.count() == "Error 1 of 1: cat & <dog> 0.90 (BG) by R-CNN in 1 <b>.png"
    [pointed] = browser.find_elements(By.CSS_SELECTOR, ".pointed")
    assert pointed.get_attribute("data-score") == "0.9"
    assert "outrank" in browser.find_element(By.ID, "rule").text
    page.choose("Loc")
    assert page.images() == []
    assert page.count() == "No image has such a detection at this score."
    page.choose("BG")
    assert page.images() == [1]


def test_photographs_are_decoded_when_they_are_looked_at(page, browser):
    page.layer("many")
    shown = browser.find_elements(By.CSS_SELECTOR, "#gallery image")
    assert len(shown) == 2
    assert len({image.get_attribute("href") for image in shown}) == 1
    widths = browser.execute_async_script(
        "const [href, done] = arguments; const i = new Image(); i.onload = () => done(i.naturalWidth); i.src = href",
        shown[0].get_attribute("href"),
    )
    assert widths == 120


def test_labels_stay_on_the_picture(page, browser):
    """The box of image 1 that starts at its left edge, and the one at the lower right, whose label is wider."""
    page.slide(0)
    sides = browser.execute_script(
        "return [...document.querySelectorAll('.tag rect')].map(r => ['x', 'y', 'width', 'height']"
        ".map(name => +r.getAttribute(name)).concat(r.ownerSVGElement.viewBox.baseVal.width,"
        " r.ownerSVGElement.viewBox.baseVal.height))"
    )
    assert len(sides) == 5
    for x, y, wide, high, *size in sides:
        assert x >= 0
        assert y >= 0
        assert x + wide <= size[0]
        assert y + high <= size[1]


def test_the_best_detection_lies_on_top(page, browser):
    page.slide(0)
    first = browser.find_elements(By.CSS_SELECTOR, "article:first-child [data-system=rcnn] .d")
    assert [box.get_attribute("data-score") for box in first] == ["-0.5", "0.9"]


def test_one_image_at_a_time_or_all(page, browser):
    page.layer("many")
    assert page.images() == [1]
    browser.find_element(By.ID, "next").click()
    assert page.images() == [2]
    browser.find_element(By.ID, "previous").click()
    browser.find_element(By.ID, "previous").send_keys(Keys.ARROW_LEFT)
    assert page.images() == [4]
    browser.find_elements(By.CSS_SELECTOR, "#strip button")[2].click()
    assert page.images() == [3]
    figures = browser.find_elements(By.CSS_SELECTOR, "article figure")
    assert [figure.get_attribute("data-system") for figure in figures] == ["rcnn", "ssd"]
    assert len({figure.rect["y"] for figure in figures}) == 1
    page.layer("many")
    assert page.images() == [1, 2, 3, 4]


def test_layers_are_switched_off(page, browser):
    page.layer("hide-detections")
    assert page.drawn() == []
    page.layer("hide-tags")
    page.layer("hide-truth")
    shown = [element for element in browser.find_elements(By.CSS_SELECTOR, ".o, .tag") if element.is_displayed()]
    assert all("missed" in element.get_attribute("class") for element in shown)


def test_boxes_take_the_colour_of_their_type(page, browser):
    def stroke():
        """Return the colour as #rrggbb."""
        line = browser.find_element(By.CSS_SELECTOR, ".d.Correct .line")
        parts = line.value_of_css_property("stroke").removeprefix("rgb(").removesuffix(")").split(",")
        return "#" + "".join(f"{int(part):02x}" for part in parts)

    assert stroke() == class_colour(1)
    page.layer("by-type")
    assert stroke() == TYPE_COLOURS["Correct"]


def test_without_the_script_the_figures_are_there_and_the_pictures_are_not(page, browser):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.refresh()
        assert not browser.find_element(By.ID, "filters").is_displayed()
        assert not browser.find_element(By.ID, "layers").is_displayed()
        assert page.images() == []
        assert browser.find_element(By.CSS_SELECTOR, "[data-system=rcnn] data").is_displayed()
        assert browser.find_element(By.CSS_SELECTOR, "noscript p").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_figures_that_are_read_are_those_of_the_metrics(page, browser, results):
    for name, figures in results.metrics.items():
        cells = browser.find_elements(By.CSS_SELECTOR, f"tr[data-system={name}] > td > data")
        assert [cell.text for cell in cells] == [
            f"{100 * figures[key]:.1f}" for key in ("map_voc07", "map_voc", "map_coco")
        ]
    totals = browser.find_elements(By.CSS_SELECTOR, "tr[data-phase=total] td")
    assert [cell.text for cell in totals] == ["250.0", "10.0"]
    titles = browser.find_elements(By.CSS_SELECTOR, "#headline .wide [data-dot] text")
    assert {title.text for title in titles} == {"R-CNN", "SSD"}


@pytest.mark.parametrize("pixels", [700, 1200])
def test_a_full_bar_ends_before_its_figure(page, browser, pixels):
    width(browser, pixels)
    sizes, gaps = browser.execute_script(
        "const cells = [...document.querySelectorAll('td.bar')], text = document.createRange();"
        "cells.forEach(cell => { cell.classList.add('best'); cell.style.setProperty('--share', 1);"
        "  cell.firstElementChild.textContent = '100.0'; });"
        "return [cells.map(cell => getComputedStyle(cell).backgroundSize), cells.map(cell => {"
        "  text.selectNodeContents(cell.firstElementChild);"
        "  return cell.getBoundingClientRect().right - text.getBoundingClientRect().left; })]"
    )
    free = [float(re.match(r"calc\(100% - ([\d.]+)px\)", size)[1]) for size in sizes]  # of the bar, on the right
    assert free
    assert all(room > taken + 2 for room, taken in zip(free, gaps, strict=True))


@pytest.mark.parametrize("pixels", [390, 768, 1000, 1200])
def test_nothing_is_cut_off(page, browser, pixels):
    width(browser, pixels)
    assert browser.execute_script("return document.documentElement.scrollWidth") == pixels
    cut = browser.execute_script(
        "document.querySelectorAll('details').forEach(d => { d.open = true; });"
        "return [...document.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth).length"
    )
    assert cut == 0
