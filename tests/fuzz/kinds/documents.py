"""Hostile documents that the host reads: policies, boards, results, recipes, labels, fleets."""

import json
from collections.abc import Iterator, Sequence
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any, Final

from PIL import Image

from tests.fuzz.harness import ROOT, Command, Kind, edge
from tests.fuzz.kinds.materials import (
    HOST,
    bundle,
    call,
    copied,
    fake_ssh,
    pictures_folder,
    place_file,
    planted,
    signed,
)
from tests.fuzz.mutation import (
    mutated_json,
    mutated_lines,
    mutated_picture,
    mutated_toml,
)

RECIPE: Final = {
    "schema_version": 1,
    "model": "m",
    "model_id": "ab",
    "max_drop_points": 0.5,
    "keep_float": {"tflite": ["conv"], "onnx": []},
}
RECIPES: Final = (json.dumps(RECIPE).encode(),)


@cache
def policy_seeds() -> Sequence[bytes]:
    text = """schema_version = 1
name = "strict"

[[rule]]
metric = "top1_drop"
at_most = 1.0
at_most_unchanged = 1.5

[[rule]]
metric = "latency_ms"
at_most = 2000
missing = "skip"
source = "recorded"

[[rule]]
metric = "agreement"
at_least = 0.9
"""
    return [text.encode()]


def place_policy(folder: Path, content: bytes) -> Sequence[Command]:
    target = copied(bundle(), folder)
    path, photos = folder / "policy.toml", pictures_folder(folder)
    path.write_bytes(content)
    sides = ("--baseline", "tflite-fp32", "--candidate", "tflite-int8")
    return (
        call("load_policy", path, "edge.comparison.policy"),
        edge("compare", target, photos, *sides, "--policy", path, "--quiet"),
    )


@cache
def fleet_seeds() -> Sequence[bytes]:
    text = """[defaults]
user = "pi"
port = 2222
device = "raspberry-pi-5"
threads = 2
max_latency = 30.5
keep = 2

[groups.shop]
hosts = ["window", "door"]
variant = "tflite-int8"

[groups.yard]
hosts = ["gate"]

[hosts.door]
address = "192.0.2.7"
engine = "litert"
"""
    return [text.encode()]


def place_fleet(folder: Path, content: bytes) -> Sequence[Command]:
    """The ssh that is found first answers like a host that does not let anybody in."""
    (folder / "fleet.toml").write_bytes(content)
    words = (
        "--inventory",
        folder / "fleet.toml",
        "--key",
        signed() / "key",
        "--dry-run",
        "--quiet",
    )
    environment = fake_ssh(folder, b"", 255)
    made = (
        edge("deploy", signed() / "bundle", *words),
        edge("deploy", signed() / "bundle", *words, "--json"),
        edge("deploy", signed() / "bundle", *words, "--group", "shop"),
    )
    return [
        Command(entry=item.entry, words=item.words, environment=environment) for item in made
    ] + [call("read_inventory", folder / "fleet.toml", "edge.deploy.fleet")] * 7


@cache
def board_seeds() -> Sequence[bytes]:
    names = ("raspberry-pi-5", "raspberry-pi-5-hailo", "ethos-u55", "imx8mp")
    return [(ROOT / "devices" / f"{name}.toml").read_bytes() for name in names]


@cache
def result_seeds() -> Sequence[bytes]:
    from benchmarks.outputs.json_file import json_text
    from benchmarks.result import Results
    from tests.unit.benchmark_results import ENVIRONMENT, every_kind

    made = Results(
        started="2026-11-01T00:00:00+00:00",
        environment=ENVIRONMENT,
        protocol={"runs": 50, "min_seconds": 1.0},
        seed=0,
        rows=every_kind(),
    )
    return [json_text(made).encode()]


def place_results(folder: Path, content: bytes) -> Sequence[Command]:
    old, new = folder / "old.json", folder / "new.json"
    old.write_bytes(result_seeds()[0])
    new.write_bytes(content)
    return (
        edge("benchmark", "diff", old, new),
        edge("benchmark", "diff", new, old, "--json"),
        edge("benchmark", "diff", new, new),
    )


@cache
def label_seeds() -> Sequence[bytes]:
    return [
        b"cat\ndog\nbird\n",
        b"0 cat\n1 dog\n2 bird\n",
        json.dumps(["cat", "dog", "bird"]).encode(),
        json.dumps({"0": "cat", "1": "dog", "2": "bird"}).encode(),
        "cat\r\ngrün\r\n青\r\n".encode("utf-16"),
    ]


def mutated_labels(random: Random, seeds: Sequence[bytes]) -> bytes:
    return (
        mutated_json(random, seeds[2:4]) if random.random() < 0.4 else mutated_lines(random, seeds)
    )


COCO: Final = {
    "images": [{"id": 1, "file_name": "photo.png", "width": 32, "height": 24}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 9, 8.5], "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [0, 0, 32, 24], "area": 700},
    ],
    "categories": [{"id": 2, "name": "cat"}, {"id": 3, "name": "dog"}],
}
VOC: Final = b"""<annotation>
<filename>photo.png</filename>
<size><width>32</width><height>24</height><depth>3</depth></size>
<object><name>cat</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9.5</xmax><ymax>8</ymax></bndbox></object>
<object><name>dog</name>
<bndbox><xmin>0</xmin><ymin>0</ymin><xmax>32</xmax><ymax>24</ymax></bndbox></object>
</annotation>
"""
YOLO: Final = b"0 0.5 0.5 0.25 0.5\n1 0.25 0.75 0.5 0.5\n"


@cache
def mask_seeds() -> Sequence[bytes]:
    seeds = []
    for mode in ("L", "P"):
        picture = Image.new(mode, (32, 24))
        if mode == "P":
            picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        picture.paste(1, (4, 4, 20, 20))
        content = BytesIO()
        picture.save(content, "PNG")
        seeds.append(content.getvalue())
    return seeds


def place_annotations(name: str) -> Any:
    """Puts the file where the annotations of photo.png lie."""

    def place(folder: Path, content: bytes) -> Sequence[Command]:
        photos = folder / "photos"
        (photos / name).parent.mkdir(parents=True)
        Image.new("RGB", (32, 24), (200, 30, 90)).save(photos / "photo.png")
        if name.endswith(".txt"):
            (photos / "classes.txt").write_text("cat\ndog\n")
        (photos / name).write_bytes(content)
        return [call("read_annotations", photos / name)]

    return place


def kinds() -> Iterator[Kind]:
    made = partial(Kind, imports=HOST)
    yield made(
        name="policy",
        seeds=policy_seeds,
        mutate=mutated_toml,
        place=place_policy,
        planted=planted("policy_TOML_special_deep.toml"),
    )
    place = place_file("r.json", partial(call, "read_recipe"))
    yield made(name="recipe", seeds=lambda: RECIPES, mutate=mutated_json, place=place)
    place = place_file("labels.txt", partial(call, "read_labels"))
    yield made(name="labels", seeds=label_seeds, mutate=mutated_labels, place=place)
    place = place_file(
        "b.toml", partial(edge, "devices"), lambda path: edge("devices", path, "--json")
    )
    yield made(name="board", seeds=board_seeds, mutate=mutated_toml, place=place)
    yield made(
        name="results",
        seeds=result_seeds,
        mutate=mutated_json,
        place=place_results,
        planted=planted("results.json_diff_24.json"),
    )
    yield made(name="fleet", seeds=fleet_seeds, mutate=mutated_toml, place=place_fleet)
    yield made(
        name="COCO annotations",
        seeds=lambda: [json.dumps(COCO).encode()],
        mutate=mutated_json,
        place=place_annotations("annotations.json"),
    )
    for name, file, seed in (("VOC", "photo.xml", VOC), ("YOLO", "photo.txt", YOLO)):
        yield made(
            name=f"{name} annotations",
            seeds=partial(list, [seed]),
            mutate=mutated_lines,
            place=place_annotations(file),
        )
    yield made(
        name="mask",
        seeds=mask_seeds,
        mutate=mutated_picture,
        place=place_annotations("masks/photo.png"),
    )
