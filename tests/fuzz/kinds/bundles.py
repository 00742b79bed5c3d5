"""Hostile files of a bundle: manifest, head, golden self-test, lock, signature and key."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.harness import Command, Kind, edge, runtime
from tests.fuzz.kinds.materials import (
    HOST,
    bundle,
    content_of,
    copied,
    headed,
    listed_again,
    materials,
    photo,
    pictures_folder,
    planted,
    signed,
)
from tests.fuzz.mutation import (
    hostile_member,
    mutated_bytes,
    mutated_json,
    mutated_zip,
)


def place_in_bundle(source: Callable[[], Path], name: str, *, relist: bool = True) -> Any:
    def place(folder: Path, content: bytes) -> Sequence[Command]:
        target = copied(source(), folder)
        (target / name).write_bytes(content)
        if relist:
            listed_again(target)
        path = folder / "p.png"
        path.write_bytes(photo())
        photos = pictures_folder(folder)
        return (
            runtime("info", target),
            runtime("predict", target, path),
            runtime("selftest", target, "--json"),
            edge("verify", target),
            edge("inspect", target),
            runtime("bench", target, "--runs", "2"),
            runtime("teach", target, "blue", path),
            runtime("forget", target, "--all"),
            edge("predict", target, path),
            edge("evaluate", target, photos, "--variant", "tflite-int8", "--quiet"),
            runtime("watch", photos / "grün", "--bundle", target, "--once"),
        )

    return place


@cache
def taught_seeds() -> Sequence[bytes]:
    from edge.runtime.bundle import Bundle
    from edge.runtime.files import sha256_file
    from edge.runtime.teach.taught import Example, Taught, write_taught

    place = materials() / "taught"
    shutil.copytree(headed(), place)
    opened = Bundle.open(place)
    variant = opened.manifest.variant()
    taught = Taught(
        variant=variant.name,
        model=sha256_file(place / variant.path),
        examples=(
            Example(label="blue", image="ab" * 32, burst="press", thumbnail=b"\xff\xd8\xff"),
            Example(label="grün", image="cd" * 32),
        ),
        vectors=np.ones((2, 3), np.float32),
    )
    write_taught(opened, taught)
    return [(place / "taught.npz").read_bytes()]


@cache
def headed_name() -> str:
    value = json.loads((headed() / "manifest.json").read_text(encoding="utf-8"))
    return str(value["head"]["path"])


def place_head(folder: Path, content: bytes) -> Sequence[Command]:
    found: Sequence[Command] = place_in_bundle(headed, headed_name())(folder, content)
    return found


def place_golden(folder: Path, content: bytes) -> Sequence[Command]:
    is_array = content[:6] == b"\x93NUMPY"
    name = "golden/tflite-fp32.npy" if is_array else "golden/golden.json"
    found = place_in_bundle(bundle, name)(folder, content)
    return [item for item in found if item.words[1] in ("selftest", "info", "watch", "verify")]


def mutated_golden(random: Random, seeds: Sequence[bytes]) -> bytes:
    from tests.fuzz.mutation import hostile_npy

    if random.random() < 0.5:
        return mutated_json(random, seeds[:1])
    return hostile_npy(random, seeds[1])


@cache
def lock_seeds() -> Sequence[bytes]:
    from edge.pipeline.reproduce.lock import BundleLock, JobInputs, NamedFile

    images = {"calibration": {"red": {"red/0.png": "ab" * 32}}, "scored": {"": {"1.png": "c" * 64}}}
    made = [
        BundleLock(
            command=command,
            name="channels",
            inputs=JobInputs(
                options={"seed": 0, "output": {"variants": ["tflite-fp32"], "seed": 0}},
                data={option: images},
                files={"labels": NamedFile(path="labels.txt", sha256="ef" * 32)},
            ),
            weights_sha256="ab" * 32,
            versions={"numpy": "2.0.0"},
            host={"machine": "x86_64", "cpu": "a CPU", "vector_flags": ["avx2"]},
            outputs={"models/tflite-fp32.tflite": "ab" * 32},
        )
        for command, option in (("export", "calibration_data"), ("build", "photos"))
    ]
    return [json.dumps(item.to_json()).encode() for item in made]


def place_lock(folder: Path, content: bytes) -> Sequence[Command]:
    target = copied(bundle(), folder)
    (target / "edge.lock").write_bytes(content)
    listed_again(target)
    photos = pictures_folder(folder)
    return (
        edge("reproduce", target, photos, "--quiet", "--cache", folder / "cache"),
        edge("evaluate", target, photos, "--variant", "tflite-int8", "--quiet"),
    )


def place_signature(folder: Path, content: bytes) -> Sequence[Command]:
    target = copied(signed() / "bundle", folder)
    (target / "manifest.json.sig").write_bytes(content)
    path = folder / "p.png"
    path.write_bytes(photo())
    return (
        edge("verify", target, "--key", signed() / "key.pub"),
        edge("verify", target, "--json"),
        edge("sign", target, "--key", signed() / "key"),
        runtime("info", target),
        edge("predict", target, path),
    )


def place_key(folder: Path, content: bytes) -> Sequence[Command]:
    target = copied(signed() / "bundle", folder)
    shutil.copy(signed() / "key", folder / "key")
    (folder / "key.pub").write_bytes(content)
    return (
        edge("keys", "show", "--key", folder / "key.pub"),
        edge("verify", target, "--key", folder / "key.pub"),
        edge("sign", target, "--key", folder / "key"),
    )


@cache
def detectors() -> Path:
    """A bundle of detectors with a golden self-test, as an export leaves it."""
    from tests.task_bundles import detectors_with_golden

    return detectors_with_golden(materials() / "detectors")


def kinds() -> Iterator[Kind]:
    made = partial(Kind, imports=HOST)
    archive = mutated_zip(hostile_member)
    yield made(
        name="manifest",
        seeds=content_of(bundle, "manifest.json"),
        mutate=mutated_json,
        place=place_in_bundle(bundle, "manifest.json", relist=False),
        planted=planted("manifest_edge-inspect7.json", "manifest_info28.json"),
    )
    yield made(
        name="manifest of a detector",
        seeds=content_of(detectors, "manifest.json"),
        mutate=mutated_json,
        place=place_in_bundle(detectors, "manifest.json", relist=False),
    )
    yield made(
        name="golden of a detector",
        seeds=content_of(detectors, "golden/golden.json"),
        mutate=mutated_json,
        place=place_in_bundle(detectors, "golden/golden.json"),
    )
    names = ("golden/golden.json", "golden/tflite-fp32.npy")
    seeds = content_of(bundle, *names)
    yield made(name="golden", seeds=seeds, mutate=mutated_golden, place=place_golden)
    yield made(
        name="head",
        seeds=lambda: [(headed() / headed_name()).read_bytes()],
        mutate=archive,
        place=place_head,
        planted=planted("head.npz_128.npz", "head.npz_special_huge.npz"),
    )
    place = place_in_bundle(headed, "taught.npz", relist=False)
    yield made(name="taught", seeds=taught_seeds, mutate=archive, place=place)
    seeds = content_of(signed, "bundle/manifest.json.sig")
    yield made(name="signature", seeds=seeds, mutate=mutated_bytes, place=place_signature)
    seeds = content_of(signed, "key.pub")
    yield made(name="public key", seeds=seeds, mutate=mutated_bytes, place=place_key)
    yield made(name="edge.lock", seeds=lock_seeds, mutate=mutated_json, place=place_lock)
