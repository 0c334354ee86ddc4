"""One small dataset, written by hand in each layout, is read as the same boxes, classes, masks and splits."""

import base64
import io
import json
from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.dataset import read_dataset

CAT, OX = "cat", "big ox"
# By split and picture: the class, and the box in pixels from 0, the last one outside.
TRUTH = {
    "train": {"a": [(CAT, (10, 20, 50, 60)), (OX, (0, 0, 160, 80))], "b": [(CAT, (32, 8, 64, 72))]},
    "val": {"c": [(OX, (5, 5, 15, 25))]},
    "test": {"d": [(CAT, (80, 40, 160, 80)), (CAT, (1, 2, 3, 4))]},
}
ROWS = [(split, name, objects) for split, images in TRUTH.items() for name, objects in images.items()]


def voc(objects: list) -> str:
    """Return an annotation: VOC counts from 1 and includes the last pixel."""
    return "<annotation>{}</annotation>".format(
        "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax>"
            f"<ymax>{y2}</ymax></bndbox></object>"
            for name, (x1, y1, x2, y2) in objects
        )
    )


def yolo(objects: list) -> str:
    """Return a label file; cat is 0, big ox 1; the picture has 160 x 80 pixels."""
    return "".join(
        f"{[CAT, OX].index(name)} {(x1 + x2) / 320} {(y1 + y2) / 160} {(x2 - x1) / 160} {(y2 - y1) / 80}\n"
        for name, (x1, y1, x2, y2) in objects
    )


def yolo_polygons(objects: list) -> str:
    """Return a label file with the four middles of a box's sides as points."""
    lines = []
    for name, (x1, y1, x2, y2) in objects:
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        points = [(x, y1), (x2, y), (x, y2), (x1, y)]
        lines.append(" ".join([str([CAT, OX].index(name)), *(f"{px / 160} {py / 80}" for px, py in points)]))
    return "\n".join(lines)


def labelme(objects: list, kind: str = "rectangle") -> str:
    shapes = []
    for name, (x1, y1, x2, y2) in objects:
        rectangle = [[x2, y1], [x1, y2]]  # any two opposite corners
        polygon = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
        points = rectangle if kind == "rectangle" else polygon
        shapes.append({"label": name, "shape_type": kind, "points": points})
    return json.dumps({"version": "5.5", "imageWidth": 160, "imageHeight": 80, "imageData": None, "shapes": shapes})


def coco(rows: list) -> str:
    images, annotations = [], []
    for i, (_, file, objects) in enumerate(rows, 1):
        images.append({"id": i, "file_name": file, "width": 160, "height": 80})
        for name, (x1, y1, x2, y2) in objects:
            box = {"id": len(annotations), "image_id": i, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            annotations.append(box | {"category_id": [CAT, OX].index(name)})
    categories = [{"id": 0, "name": CAT}, {"id": 1, "name": OX}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def via(rows: list) -> dict[str, Any]:
    entries = {}
    for _, file, objects in rows:
        regions = [
            {
                "shape_attributes": {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1},
                "region_attributes": {"animal": name},
            }
            for name, (x1, y1, x2, y2) in objects
        ]
        entries[f"{file}1234"] = {"filename": file, "size": 1234, "regions": regions, "file_attributes": {}}
    return entries


def files(rows: list) -> list:
    return [(split, f"{name}.png", objects) for split, name, objects in rows]


def of(split: str) -> list:
    return [row for row in ROWS if row[0] == split]


# --- the layouts: each writes TRUTH into a folder ---------------------------------------------------------------------


def voc_usual(f: Any) -> None:
    for split, name, objects in ROWS:
        f.pictures(f"JPEGImages/{name}.png")
        f.write(f"Annotations/{name}.xml", voc(objects))
        f.write(f"ImageSets/Main/{split}.txt", "".join(f"{name}\n" for _, name, _ in of(split)))


def voc_other_names(f: Any) -> None:
    for split, name, objects in ROWS:
        f.pictures(f"images/{name}.png")
        f.write(f"annotations/xmls/{name}.xml", voc(objects))
        f.write(f"ImageSets/Main/{split}.txt", "".join(f"{name}\n" for _, name, _ in of(split)))


def voc_beside(f: Any) -> None:
    for split, name, objects in ROWS:
        f.pictures(f"{split}/{name}.png")
        f.write(f"{split}/{name}.xml", voc(objects))


def voc_folders_of_splits(f: Any) -> None:
    for split, name, objects in ROWS:
        folder = {"val": "valid"}.get(split, split)
        f.pictures(f"{folder}/JPEGImages/{name}.png")
        f.write(f"{folder}/Annotations/{name}.xml", voc(objects))


def voc_splits_inside(f: Any) -> None:
    for split, name, objects in ROWS:
        f.pictures(f"JPEGImages/{split}/{name}.png")
        f.write(f"Annotations/{split}/{name}.xml", voc(objects))


def coco_roboflow(f: Any) -> None:
    for split in TRUTH:
        folder = {"val": "valid"}.get(split, split)
        f.pictures(*(f"{folder}/{file}" for _, file, _ in files(of(split))))
        f.write(f"{folder}/_annotations.coco.json", coco(files(of(split))))


def coco_instances(f: Any) -> None:
    for split in TRUTH:
        f.pictures(*(f"{split}2017/{file}" for _, file, _ in files(of(split))))
        f.write(f"annotations/instances_{split}2017.json", coco(files(of(split))))
        f.write(f"annotations/captions_{split}2017.json", '{"images": [], "annotations": []}')


def yolo_ultralytics(f: Any, text: Callable = yolo) -> None:
    for split, name, objects in ROWS:
        f.pictures(f"images/{split}/{name}.png")
        f.write(f"labels/{split}/{name}.txt", text(objects))
    splits = "\n".join(f"{split}: images/{split}" for split in TRUTH)
    f.write("data.yaml", f"path: ../datasets/mine\n{splits}\nnames:\n  0: cat\n  1: big ox\n")


def yolo_segments(f: Any) -> None:
    yolo_ultralytics(f, yolo_polygons)


def yolo_roboflow(f: Any) -> None:
    folders = {"train": "train", "val": "valid", "test": "test"}
    for split, name, objects in ROWS:
        f.pictures(f"{folders[split]}/images/{name}.png")
        f.write(f"{folders[split]}/labels/{name}.txt", yolo(objects))
    splits = "\n".join(f"{split}: ../{folder}/images" for split, folder in folders.items())
    f.write("data.yaml", f"{splits}\nnc: 2\nnames: ['cat', 'big ox']\n")
    f.write("README.roboflow.txt", "exported for you\n")


def yolo_list_files(f: Any) -> None:
    for split, name, objects in ROWS:
        f.pictures(f"data/{name}.png")
        f.write(f"data/{name}.txt", yolo(objects))
        f.write(f"{split}.txt", "".join(f"/home/me/set/data/{name}.png\n" for _, name, _ in of(split)))
    f.write("mine.yaml", "train: train.txt\nval: ./val.txt\ntest: test.txt\nnames: [cat, big ox]\n")


def yolo_classes_txt(f: Any) -> None:
    for split, name, objects in ROWS:
        f.pictures(f"{split}/{name}.png")
        f.write(f"{split}/{name}.txt", yolo(objects))
        f.write(f"{split}/classes.txt", "cat\nbig ox\n")


def yolo_darknet(f: Any) -> None:
    for split, name, objects in ROWS:
        f.pictures(f"obj_train_data/{name}.png")
        f.write(f"obj_train_data/{name}.txt", yolo(objects))
        f.write(f"{split}.txt", "".join(f"data/obj_train_data/{name}.png\n" for _, name, _ in of(split)))
    f.write("obj.names", "cat\nbig ox\n")
    f.write("obj.data", "classes = 2\n")


def labelme_beside(f: Any) -> None:
    for split, name, objects in ROWS:
        f.pictures(f"{split}/{name}.png")
        f.write(f"{split}/{name}.json", labelme(objects))


def labelme_polygons(f: Any) -> None:
    for split, name, objects in ROWS:
        f.pictures(f"images/{name}.png")
        f.write(f"annotations/{name}.json", labelme(objects, "polygon"))
        f.write(f"{split}.txt", "".join(f"{name}\n" for _, name, _ in of(split)))


def via_project(f: Any) -> None:
    for split, name, _ in ROWS:
        f.pictures(f"{split}/{name}.png")
    f.write("via_project.json", json.dumps({"_via_settings": {}, "_via_img_metadata": via(files(ROWS))}))


def via_a_split(f: Any) -> None:
    for split in TRUTH:
        f.pictures(*(f"{split}/{file}" for _, file, _ in files(of(split))))
        entries = via(files(of(split)))
        for entry in entries.values():  # as VIA 1 wrote regions
            entry["regions"] = {str(i): region for i, region in enumerate(entry["regions"])}
        f.write(f"{split}/via_region_data.json", json.dumps(entries))


def csv_corners(f: Any) -> None:
    for split in TRUTH:
        f.pictures(*(f"images/{file}" for _, file, _ in files(of(split))))
        lines = [
            ",".join(map(str, (file, 160, 80, name, *box)))
            for _, file, objects in files(of(split))
            for name, box in objects
        ]
        f.write(f"{split}_labels.csv", "\n".join(["filename,width,height,class,xmin,ymin,xmax,ymax", *lines]))


def csv_sizes(f: Any) -> None:
    lines = ["Image ID;Label;x;y;w;h;split"]
    for split, name, objects in ROWS:
        f.pictures(f"photos/{name}.png")
        lines += [f"{name};{label};{x1};{y1};{x2 - x1};{y2 - y1};{split}" for label, (x1, y1, x2, y2) in objects]
    f.write("boxes.csv", "\n".join(lines))


LAYOUTS: dict[str, list[Callable[[Any], None]]] = {
    "voc": [voc_usual, voc_other_names, voc_beside, voc_folders_of_splits, voc_splits_inside],
    "coco": [coco_roboflow, coco_instances],
    "yolo": [yolo_ultralytics, yolo_segments, yolo_roboflow, yolo_list_files, yolo_classes_txt, yolo_darknet],
    "labelme": [labelme_beside, labelme_polygons],
    "via": [via_project, via_a_split],
    "csv": [csv_corners, csv_sizes],
}


@pytest.mark.parametrize(
    ("source", "layout"), [(source, layout) for source, layouts in LAYOUTS.items() for layout in layouts]
)
def test_each_layout_holds_the_same(folder: Any, source: str, layout: Callable[[Any], None]) -> None:
    layout(folder)
    assert folder.contents("auto") == TRUTH
    assert folder.contents(source) == TRUTH
    report = folder.report()
    assert report.ok, report.problems
    assert {kind for kind, messages in report.notes.items() if messages} == {"layout recognised"}
    assert report.notes["layout recognised"][0].endswith(f"data.source: {source} says the same.")


# --- the same boxes with masks ----------------------------------------------------------------------------------------


def outline(name: str, box: tuple) -> list[tuple[int, int]]:
    """Return the points of an L that fills a box to its sides; that of an ox stands on its head."""
    x1, y1, x2, y2 = box
    x, y = x1 + max(1, (x2 - x1) // 4), y2 - max(1, (y2 - y1) // 4)
    points = [(x1, y1), (x, y1), (x, y), (x2, y), (x2, y2), (x1, y2)]
    return [(x1 + x2 - x, y1 + y2 - y) for x, y in points] if name == OX else points


def pixels(name: str, box: tuple) -> np.ndarray:
    """Return the L as a mask, by two rectangles."""
    x1, y1, x2, y2 = box
    x, y = max(1, (x2 - x1) // 4), max(1, (y2 - y1) // 4)
    inside = np.zeros((y2 - y1, x2 - x1), bool)
    inside[:, :x] = inside[-y:] = True
    mask = np.zeros((80, 160), bool)
    mask[y1:y2, x1:x2] = inside[::-1, ::-1] if name == OX else inside
    return mask


def coco_masks(f: Any, segmentation: Callable[[str, tuple], Any], *, boxes: bool = True) -> None:
    for split in TRUTH:
        rows = files(of(split))
        f.pictures(*(f"{split}/{file}" for _, file, _ in rows))
        content = json.loads(coco(rows))
        objects = [item for _, _, items in rows for item in items]
        for annotation, item in zip(content["annotations"], objects, strict=True):
            annotation["segmentation"] = segmentation(*item)
            if not boxes:
                del annotation["bbox"]
        f.write(f"{split}/annotations.json", json.dumps(content))


def coco_polygons(f: Any) -> None:
    coco_masks(f, lambda *item: [[value for point in outline(*item) for value in point]], boxes=False)


def coco_run_lengths(f: Any) -> None:
    def segmentation(*item: Any) -> dict[str, Any]:
        flat = pixels(*item).T.ravel().tolist()
        counts = [len(list(group)) for _, group in groupby(flat)]
        return {"size": [80, 160], "counts": [0, *counts] if flat[0] else counts}

    coco_masks(f, segmentation)


def yolo_outlines(f: Any) -> None:
    def text(objects: list) -> str:
        shares = [
            (name, [value for x, y in outline(name, box) for value in (x / 160, y / 80)]) for name, box in objects
        ]
        return "".join(f"{[CAT, OX].index(name)} {' '.join(map(str, values))}\n" for name, values in shares)

    yolo_ultralytics(f, text)


def labelme_outlines(f: Any) -> None:
    for split, name, objects in ROWS:
        f.pictures(f"{split}/{name}.png")
        shapes = [{"label": label, "shape_type": "polygon", "points": outline(label, box)} for label, box in objects]
        f.write(f"{split}/{name}.json", json.dumps({"imageWidth": 160, "imageHeight": 80, "shapes": shapes}))


def labelme_bitmaps(f: Any) -> None:
    for split, name, objects in ROWS:
        f.pictures(f"{split}/{name}.png")
        shapes = []
        for label, (x1, y1, x2, y2) in objects:
            stream = io.BytesIO()
            Image.fromarray(pixels(label, (x1, y1, x2, y2))[y1:y2, x1:x2]).save(stream, "PNG")
            points = [[x1, y1], [x2 - 1, y2 - 1]]
            png = base64.b64encode(stream.getvalue()).decode()
            shapes.append({"label": label, "shape_type": "mask", "points": points, "mask": png})
        f.write(f"{split}/{name}.json", json.dumps({"imageWidth": 160, "imageHeight": 80, "shapes": shapes}))


def via_outlines(f: Any) -> None:
    entries = via(files(ROWS))
    for (split, file, objects), entry in zip(files(ROWS), entries.values(), strict=True):
        f.pictures(f"{split}/{file}")
        for region, item in zip(entry["regions"], objects, strict=True):
            xs, ys = zip(*outline(*item), strict=True)
            region["shape_attributes"] = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
    f.write("via_project.json", json.dumps({"_via_img_metadata": entries}))


def values(objects: list, value: Callable[[int, str], int]) -> np.ndarray:
    """Return the masks of an image in one array, each with its value by its number from 1 and its class."""
    drawn = np.zeros((80, 160), np.uint8)
    for i, (name, box) in enumerate(objects, 1):
        drawn[pixels(name, box)] = value(i, name)
    return drawn


def voc_objects(f: Any) -> None:
    voc_usual(f)
    for _, name, objects in ROWS:
        f.png(f"SegmentationObject/{name}.png", values(objects, lambda i, _: i + 3))


def masks_of_objects(f: Any) -> None:
    for split, name, objects in ROWS:
        f.pictures(f"{split}/images/{name}.png")
        for i, item in enumerate(objects):
            f.png(f"{split}/masks/{name}_{item[0]}_{i}.png", pixels(*item))


def masks_of_classes(f: Any) -> None:
    for split, name, objects in ROWS:
        f.pictures(f"images/{split}/{name}.png")
        f.png(f"masks/{split}/{name}_mask.png", values(objects, lambda _, label: 1 + [CAT, OX].index(label)))
    f.write("classes.txt", "cat\nbig ox\n")


def masks_of_instances(f: Any) -> None:
    """As labelme2voc writes it."""
    for split, name, objects in ROWS:
        f.pictures(f"JPEGImages/{name}.png")
        f.png(f"SegmentationClass/{name}.png", values(objects, lambda _, label: 1 + [CAT, OX].index(label)))
        f.png(f"SegmentationObject/{name}.png", values(objects, lambda i, _: i))
        f.write(f"{split}.txt", "".join(f"{name}\n" for _, name, _ in of(split)))
    f.write("class_names.txt", "_background_\ncat\nbig ox\n")


MASKED: dict[str, list[Callable[[Any], None]]] = {
    "voc": [voc_objects],
    "coco": [coco_polygons, coco_run_lengths],
    "yolo": [yolo_outlines],
    "labelme": [labelme_outlines, labelme_bitmaps],
    "via": [via_outlines],
    "masks": [masks_of_objects, masks_of_classes, masks_of_instances],
}


@pytest.mark.parametrize(
    ("source", "layout"), [(source, layout) for source, layouts in MASKED.items() for layout in layouts]
)
def test_each_layout_holds_the_same_masks(folder: Any, source: str, layout: Callable[[Any], None]) -> None:
    layout(folder)
    truth = {
        split: {
            name: sorted((label, box, pixels(label, box).tolist()) for label, box in objects)
            for name, objects in images.items()
        }
        for split, images in TRUTH.items()
    }
    assert folder.masks("auto") == truth
    report = folder.report(source)
    assert report.ok, report.problems
    assert not {kind for kind, messages in report.notes.items() if messages}
    assert report.masks == {"train": {CAT: 2, OX: 1}, "val": {CAT: 0, OX: 1}, "test": {CAT: 2, OX: 0}}


def test_the_parameter_of_coco_that_finds_the_files(folder: Any, make_data: Callable) -> None:
    coco_roboflow(folder)
    folder.write("boxes.csv", "filename,class,xmin,ymin,xmax,ymax\n")
    assert "data.source: coco or data.source: csv chooses" in folder.problem()
    data = make_data(folder.root, "coco", coco={"images": "images", "annotations": "auto"})
    assert {split: len(index.images) for split, index in read_dataset(data, 1).splits.items()} == {
        "train": 2,
        "val": 1,
        "test": 1,
    }


def test_a_coco_file_that_lacks_a_section_and_images_of_no_file_are_noted(folder: Any) -> None:
    coco_roboflow(folder)
    content = json.loads((folder.root / "valid/_annotations.coco.json").read_text())
    del content["images"]
    folder.write("valid/_annotations.coco.json", json.dumps(content))
    report = folder.report()
    assert report.notes["annotation file that is not read"] == [
        "valid/_annotations.coco.json: lacks one of the sections images, annotations, categories: not used."
    ]
    assert report.notes["image without annotation"] == ["valid/c.png: no annotation file lists it: not used."]


@pytest.mark.parametrize("layout", [layouts[0] for layouts in LAYOUTS.values()])
def test_progress_shows_while_annotations_are_read(
    folder: Any, layout: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    layout(folder)
    monkeypatch.setattr("pipeline.data.source.MANY", 0)
    assert folder.report().ok
    printed = capsys.readouterr().err
    assert "listing files" in printed
    assert "reading annotations: 100%" in printed
