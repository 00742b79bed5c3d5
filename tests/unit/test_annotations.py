"""Annotations of COCO, VOC, YOLO and masks: what is read, what is said, and what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.dataset.annotations.read import EXPORT_AGAIN, TruthFolder, read_truth
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


@pytest.mark.parametrize(
    "names",
    [
        "names: [dog, cat]\n",
        "names:\n- dog\n- cat\n",
        "names: {0: dog, 1: cat}\n",
        "names: # the classes\n  0: dog # first\n  1: cat\n",
        "names:\n  '0': dog\n  '1': cat\n",
        "names:\n  1: cat\n  0: 'dog' # first\n",
        '{"names": ["dog", "cat"]}\n',
        "names: &n [dog, cat]\nother: *n\n",
        "names: [\n  dog, # first\n  cat\n]\n",
    ],
)
def test_the_names_of_data_yaml(tmp_path: Path, names: str) -> None:
    folder = pictures(tmp_path, "a.jpg")
    (tmp_path / "a.txt").write_text("1 0.5 0.5 0.3 0.2\n")
    (tmp_path / "data.yaml").write_text(names)
    (box,) = truth(folder).pictures[0].boxes
    assert box.index == 0


@pytest.mark.parametrize(
    "text",
    [
        "names: [dog, cat\n",
        "path: x\n",
        "names:\n",
        "names: 3\n",
        "names: {1: dog, 2: cat}\n",
        "names: [[dog], cat]\n",
        "names: " + "[" * 5000,
        "\x07",
        "names: !!python/object/apply:os.system [true]\n",
    ],
)
def test_a_data_yaml_that_is_not_understood_stops_the_run(tmp_path: Path, text: str) -> None:
    folder = pictures(tmp_path, "a.jpg")
    (tmp_path / "a.txt").write_text("1 0.5 0.5 0.3 0.2\n")
    (tmp_path / "data.yaml").write_text(text)
    assert "data.yaml" in refused(folder)


@pytest.mark.parametrize(
    "line",
    ["cat .5 .5 .5 .5", "1,.5,.5,.5,.5", "1.0 .5 .5 .5 .5", "1 nan .5 .5 .5", "1 .5 .5 .5"],
)
def test_a_damaged_file_of_yolo_is_no_picture_without_annotation(tmp_path: Path, line: str) -> None:
    folder = pictures(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "a.txt").write_text("1 0.5 0.5 0.3 0.2\n")
    (tmp_path / "b.txt").write_text(line)
    assert "b.txt, line 1" in refused(folder)


def test_pictures_that_coco_lists_and_nobody_has_are_counted(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    coco(tmp_path / "x.json")
    (tmp_path / "b.jpg").unlink()
    (note,) = (text for text in truth(tmp_path).notes if "not in" in text)
    assert note.startswith("1 picture that the annotations list is not in")
    assert note.endswith("b.jpg")


def test_masks(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "images", "a.jpg")
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.full((50, 100), 1, np.uint8)).save(tmp_path / "masks/a.png")
    (item,) = truth(folder, Task.SEGMENTATION).pictures
    assert item.mask == tmp_path / "masks/a.png"


POINTS = ("nose", "left eye", "right eye")


def poses(
    folder: Path, count: int = 3, labels: tuple[str, ...] = POINTS, **category: Any
) -> TruthFolder:
    """Read COCO's annotation of one person whose keypoint n lies at (10 + n, 20 + n)."""
    pictures(folder, "a.jpg", "b.jpg")
    item = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 30, 10]}
    item["keypoints"] = [value for n in range(count) for value in (10 + n, 20 + n, 2)]
    named = {"id": 3, "name": "person"} | category
    coco(folder / "persons.json", categories=[named], annotations=[item])
    found = find_pictures(folder, ())
    return read_truth(folder, found.pictures, labels, task=Task.POSE)


def places(read: TruthFolder) -> list[tuple[float, int]]:
    (box,) = read.pictures[0].boxes
    return [(x, seen) for x, _, seen in box.keypoints]


def test_the_category_of_a_pose_is_the_body(tmp_path: Path) -> None:
    read = poses(tmp_path)
    assert places(read) == [(10, 2), (11, 2), (12, 2)]
    assert any("'person' (1) is the body" in note and "order" in note for note in read.notes)


def test_keypoints_are_matched_by_name(tmp_path: Path) -> None:
    read = poses(tmp_path, 4, keypoints=["Right_Eye", "tail", "nose", "left-eye"])
    assert places(read) == [(12, 2), (13, 2), (10, 2)]
    assert any("by name" in note for note in read.notes)


def test_keypoints_that_are_not_annotated_count_nowhere(tmp_path: Path) -> None:
    read = poses(tmp_path, 2, keypoints=["right eye", "nose"])
    assert places(read) == [(11, 2), (0, 0), (10, 2)]
    assert any("1 keypoint of the model" in n and "'left eye'" in n for n in read.notes)


def test_keypoints_of_a_yolo_file(tmp_path: Path) -> None:
    folder = pictures(tmp_path, "a.jpg")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.3 0.2 0.4 0.5 2 0.5 0.5 1 0.6 0.5 0\n")
    (tmp_path / "data.yaml").write_text("kpt_shape: [3, 3]\nnames: [person]\n")
    found = find_pictures(folder, ())
    read = read_truth(folder, found.pictures, POINTS, task=Task.POSE)
    assert places(read) == [(40, 2), (50, 1), (60, 0)]


@pytest.mark.parametrize(
    ("count", "names", "said"),
    [
        (0, (), "'person' has no keypoints"),
        (5, (), "'person' has 5 keypoints"),
        (4, ("thumb", "index", "ring", "palm"), "4 keypoints: 'thumb'"),
        (2, ("nose", "left eye", "right eye"), "has 2 keypoints, and its category names 3"),
    ],
)
def test_keypoints_of_something_else_are_refused(
    tmp_path: Path, count: int, names: tuple[str, ...], said: str
) -> None:
    with pytest.raises(EdgeError) as caught:
        poses(tmp_path, count, keypoints=list(names))
    assert said in caught.value.message
    assert caught.value.hint


def test_annotations_of_other_classes_name_the_way_that_the_command_has(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    coco(tmp_path / "a.json", categories=[{"id": 3, "name": "horse"}])
    assert "--labels FILE names" in refused(tmp_path)
    assert "export the model again" in refused(tmp_path, renaming=EXPORT_AGAIN)


def one_channel(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((50, 100), 1, np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    "mask",
    [
        "masks/a.png",
        "masks/more/a.png",
        "a_mask.png",
        "SegmentationClass/a.png",
        "masks/missing.png",  # its picture was deleted
    ],
)
@pytest.mark.parametrize("photos", [".", "images"])
def test_masks_are_no_pictures(tmp_path: Path, photos: str, mask: str) -> None:
    pictures(tmp_path / photos, "a.jpg", "b.jpg")
    (tmp_path / mask).parent.mkdir(parents=True, exist_ok=True)
    path = one_channel(tmp_path / mask)
    found = find_pictures(tmp_path, ())
    assert [item.path.name for item in found.pictures] == ["a.jpg", "b.jpg"]
    assert found.files.images == tuple(item.path for item in found.pictures)
    assert found.masks == (path,)
    assert any("1 file in" in note and "no picture" in note for note in found.notes)
    if "missing" not in mask:
        (item,) = truth(tmp_path, Task.SEGMENTATION).pictures
        assert (item.picture.path.name, item.mask) == ("a.jpg", path)
        with pytest.raises(EdgeError, match="belongs to none"):  # the mask has no mask
            read_truth(tmp_path, found.pictures[1:], LABELS, task=Task.SEGMENTATION)


def test_masks_of_objects_are_neither_pictures_nor_masks_of_classes(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    classes = one_channel(tmp_path / "SegmentationClass/a.png")
    one_channel(tmp_path / "SegmentationObject/a.png")
    (item,) = truth(tmp_path, Task.SEGMENTATION).pictures
    assert item.mask == classes


def test_two_masks_of_a_picture_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    one_channel(tmp_path / "masks/a.png")
    one_channel(tmp_path / "a_mask.png")
    assert "both masks of a.jpg" in refused(tmp_path, Task.SEGMENTATION)


def test_photos_in_a_folder_called_masks_are_pictures(tmp_path: Path) -> None:
    pictures(tmp_path / "masks", "face.png")  # of faces with masks: nothing else has its name
    pictures(tmp_path / "none", "other.png")
    assert len(find_pictures(tmp_path, ()).pictures) == 2
    one_channel(tmp_path / "masks/other.png")  # where folders are classes, it is a picture as well
    assert len(find_pictures(tmp_path, ("masks", "none")).pictures) == 3


def test_a_folder_of_masks_alone_holds_no_picture(tmp_path: Path) -> None:
    one_channel(tmp_path / "masks/a.png")
    pictures(tmp_path / "notes")
    with pytest.raises(EdgeError, match="holds 1 mask and no picture"):
        find_pictures(tmp_path, ())


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
        {"annotations": [{"image_id": 99, "category_id": 3, "bbox": [1, 1, 2, 2]}]},
        {"annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 1, 2, 2]}] * 2},
        {"categories": [{"id": 3, "name": "dog"}, {"id": 3, "name": "cat"}]},
        {"images": [{"id": 7, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}]},
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
