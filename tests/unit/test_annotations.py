"""Annotations of COCO, VOC, YOLO and masks: what is read, what is said, and what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.dataset.annotations.read import TruthFolder, read_truth
from edge.dataset.pictures import find_pictures
from edge.errors import EdgeError
from edge.runtime.tasks.table import Task

LABELS = ("cat", "dog")
DATA = os.environ.get("EDGE_TEST_DATA")


def pictures(folder: Path, *names: str, orientation: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for number, name in enumerate(names):
        Image.new("RGB", (100, 50), (number, 0, 0)).save(folder / name, exif=exif)
    return folder


def truth(folder: Path, task: Task = Task.DETECTION, **more: Any) -> TruthFolder:
    found = find_pictures(folder, ())
    return read_truth(folder, found.pictures, LABELS, task=task, **more)


def refused(folder: Path, task: Task = Task.DETECTION, **more: Any) -> str:
    with pytest.raises(EdgeError) as caught:
        truth(folder, task, **more)
    return f"{caught.value.message} {caught.value.hint}"


def voc(path: Path, *objects: tuple[str, float, float, float, float], **more: Any) -> None:
    items = "".join(
        f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{a}</xmin>"
        f"<ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, a, b, c, d in objects
    )
    width = more.get("width", 100)
    size = f"<size><width>{width}</width><height>50</height></size>"
    path.write_text(f"<annotation>{size}{items}</annotation>")


def coco(path: Path, **change: Any) -> None:
    value = {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 100, "height": 50},
            {"id": 8, "file_name": "b.jpg", "width": 100, "height": 50},
        ],
        "categories": [{"id": 3, "name": "Dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 30, 10], "iscrowd": 0}
        ],
    }
    path.write_text(json.dumps(value | change))


# ---- what is read


def test_voc_beside_the_pictures(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    voc(tmp_path / "a.xml", ("dog", 10, 20, 40, 30))
    read = truth(tmp_path)
    (item,) = read.pictures  # b has no annotation, which a note says
    (box,) = item.boxes
    assert (box.index, box.left, box.top, box.right, box.bottom) == (1, 10, 20, 40, 30)
    assert read.format == "voc"
    assert any("1 picture without annotation" in note for note in read.notes)


def test_coco_in_the_folder(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    coco(tmp_path / "instances.json")
    read = truth(tmp_path)
    assert [len(item.boxes) for item in read.pictures] == [1, 0]  # b is annotated as empty
    (box,) = read.pictures[0].boxes
    assert (box.index, box.left, box.top, box.right, box.bottom) == (1, 10, 20, 40, 30)


def test_yolo_beside_the_folder_of_images(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "images", "a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.25 0.5 0.3 0.2\n")
    (tmp_path / "data.yaml").write_text("nc: 2\nnames:\n  0: dog\n  1: 'cat'\n")
    (box,) = truth(folder).pictures[0].boxes
    assert box.index == 1  # by name, not by number
    found = (box.left, box.top, box.right, box.bottom)
    assert found == pytest.approx((10, 20, 40, 30))


@pytest.mark.parametrize("names", ["names: [dog, cat]\n", "names:\n- dog\n- cat\n"])
def test_the_names_of_data_yaml(tmp_path: Path, names: str) -> None:
    folder = pictures(tmp_path, "a.jpg")
    (tmp_path / "a.txt").write_text("1 0.5 0.5 0.3 0.2\n")
    (tmp_path / "data.yaml").write_text(names)
    (box,) = truth(folder).pictures[0].boxes
    assert box.index == 0


def test_masks(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "images", "a.jpg")
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.full((50, 100), 1, np.uint8)).save(tmp_path / "masks/a.png")
    (item,) = truth(folder, Task.SEGMENTATION).pictures
    assert item.mask == tmp_path / "masks/a.png"


@pytest.mark.skipif(DATA is None, reason="needs EDGE_TEST_DATA")
def test_the_photos_of_blood_cells() -> None:
    folder = Path(DATA or "", "images/blood-cells/val")
    found = find_pictures(folder, ())
    labels = ("RBC", "WBC", "Platelets")
    read = read_truth(folder, found.pictures, labels, task=Task.DETECTION)
    assert len(read.pictures) == len(found.pictures) == 87
    assert read.format == "voc"


# ---- what is refused or said


def test_no_annotations_is_no_truth(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    assert truth(tmp_path).pictures == ()


def test_two_formats_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    voc(tmp_path / "a.xml", ("dog", 10, 20, 40, 30))
    coco(tmp_path / "a.json")
    said = refused(tmp_path)
    assert "--annotations coco" in said
    assert "--annotations voc" in said
    assert truth(tmp_path, annotations="voc").format == "voc"


def test_classes_that_the_model_lacks(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    voc(tmp_path / "a.xml", ("horse", 10, 20, 40, 30))
    assert "'horse'" in refused(tmp_path)
    voc(tmp_path / "b.xml", ("dog", 10, 20, 40, 30))
    assert any("'horse' (1)" in note for note in truth(tmp_path).notes)


def test_boxes_beyond_the_picture(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    voc(tmp_path / "a.xml", ("dog", 90, 20, 140, 30))
    read = truth(tmp_path)
    assert read.pictures[0].boxes[0].right == 100
    assert any("beyond" in note for note in read.notes)
    voc(tmp_path / "a.xml", ("dog", 190, 20, 240, 30))
    assert "outside" in refused(tmp_path)


def test_a_box_without_area_is_left_out(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    voc(tmp_path / "a.xml", ("dog", 10, 20, 10, 30), ("dog", 10, 20, 40, 30))
    read = truth(tmp_path)
    assert len(read.pictures[0].boxes) == 1
    assert any("1 box without area" in note for note in read.notes)


@pytest.mark.parametrize(
    ("box", "said"),
    [((40, 20, 10, 30), "before its start"), (("nan", 1, 2, 3), "xmin"), (("", 1, 2, 3), "xmin")],
)
def test_boxes_that_are_none(tmp_path: Path, box: tuple[Any, ...], said: str) -> None:
    pictures(tmp_path, "a.jpg")
    voc(tmp_path / "a.xml", ("dog", *box))
    assert said in refused(tmp_path)


def test_another_size_than_was_annotated(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    voc(tmp_path / "a.xml", ("dog", 10, 20, 40, 30), width=200)
    assert "200 x 50" in refused(tmp_path)


def test_annotations_of_a_picture_that_a_viewer_turns(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", orientation=6)  # shown as 50 x 100
    voc(tmp_path / "a.xml", ("dog", 10, 20, 40, 30))
    assert "EXIF" in refused(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>',
        "<annotation><object>",
        "<annotation>" + "<a>" * 100_000,
    ],
)
def test_hostile_xml(tmp_path: Path, content: str) -> None:
    pictures(tmp_path, "a.jpg")
    (tmp_path / "a.xml").write_text(content)
    assert "a.xml" in refused(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"images": 3},
        {"annotations": [{"image_id": 7, "category_id": 9, "bbox": [1, 1, 2, 2]}]},
        {"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 1, 2]}]},
        {"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 1, -2, 2]}]},
        {"annotations": [{"image_id": "7", "category_id": 3, "bbox": [1, 1, 2, 2]}]},
    ],
)
def test_hostile_coco(tmp_path: Path, change: dict[str, Any]) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    coco(tmp_path / "x.json", **change)
    assert "x.json" in refused(tmp_path)


@pytest.mark.parametrize("line", ["0 0.5 0.5", "5 0.5 0.5 0.1 0.1", "0 0.5 nan 0.1 0.1"])
def test_hostile_yolo(tmp_path: Path, line: str) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n" + line)
    assert "line 2" in refused(tmp_path)


def test_masks_of_other_values(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "images", "a.jpg")
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.full((50, 100), 20, np.uint8)).save(tmp_path / "masks/a.png")
    said = refused(folder, Task.SEGMENTATION)
    assert "20" in said
    assert "multiples" in said


def test_an_alien_place(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    assert "--annotations" in refused(tmp_path, annotations="nowhere")
    assert "nothing about" in refused(tmp_path, annotations="masks")
