"""Hostile files about collections of pictures: tags, truth, embeddings and word vectors."""

import gzip
import json
import shutil
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Final

import numpy as np

from tests.fuzz.harness import Command, Kind, edge
from tests.fuzz.kinds.materials import (
    HOST,
    bundle,
    call,
    copied,
    materials,
    photo,
    pictures_folder,
    planted,
)
from tests.fuzz.mutation import gzip_bomb, hostile_member, mutated_bytes, mutated_lines, mutated_zip

TRUTH: Final = (
    "file,labels\ngrün/0.png,red 🍎|grün\ngrün/1.png,青\n".encode(),
    "file,red 🍎,grün,青\ngrün/0.png,0,1,1\ngrün/1.png,1,0,0\n".encode(),
)
GROUPS: Final = ("sea = grün, 青\nfruit = red 🍎\n".encode(),)


@cache
def several() -> Path:
    """A bundle whose labels do not exclude one another."""
    from edge.runtime.output import Activation, OutputKind, OutputSpec

    place = materials() / "several"
    shutil.copytree(bundle(), place)
    output = OutputSpec(
        kind=OutputKind.MULTI_LABEL, activation=Activation.NONE, thresholds=(0.5,) * 3, evidence=""
    )
    path = place / "manifest.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    value |= {"schema_version": 2, "output": output.to_json()}
    path.write_text(json.dumps(value), encoding="utf-8")
    return place


def place_truth(folder: Path, content: bytes) -> Sequence[Command]:
    target, photos = copied(several(), folder), pictures_folder(folder)
    (folder / "truth.csv").write_bytes(content)
    words = ("--truth", folder / "truth.csv", "--variant", "tflite-int8", "--quiet")
    return (edge("evaluate", target, photos, *words),)


def place_groups(folder: Path, content: bytes) -> Sequence[Command]:
    target, photos = copied(bundle(), folder), pictures_folder(folder)
    path = folder / "groups.txt"
    path.write_bytes(content)
    words = ("--bundle", target, "--groups", path, "--find", "sea", "--cache", folder / "cache")
    return (edge("tag", photos, *words, "--quiet"),)


@cache
def sidecar_seeds() -> Sequence[bytes]:
    from edge.tagging.sidecars import EMPTY, with_tags

    tags = {"subject": ["grün", "a"], "hierarchicalSubject": ["x|grün"], "TagsList": ["x/grün"]}
    return [EMPTY, with_tags(EMPTY, tags)]


def mutated_sidecar(random: Random, seeds: Sequence[bytes]) -> bytes:
    if random.random() < 0.7:
        return mutated_bytes(random, seeds)
    entities = "".join(f'<!ENTITY a{n + 1} "&a{n};&a{n};&a{n};&a{n};">' for n in range(20))
    deep = random.choice((500, 100_000))
    head = b'<?xml version="1.0"?>'
    return random.choice(
        (
            head + f'<!DOCTYPE x [<!ENTITY a0 "xx">{entities}]><x>&a20;</x>'.encode(),
            head + b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
            seeds[1].replace(b"<rdf:RDF", b"<a>" * deep + b"<rdf:RDF"),
            seeds[1].replace(b"</rdf:RDF", b"<a>" * deep + b"</a>" * deep + b"</rdf:RDF"),
            seeds[1].replace(b"rdf:Bag", b"rdf:Alt"),
        )
    )


def place_sidecar(folder: Path, content: bytes) -> Sequence[Command]:
    target = copied(bundle(), folder)
    (folder / "photos").mkdir()
    (folder / "photos" / "p.png").write_bytes(photo())
    (folder / "photos" / "p.png.xmp").write_bytes(content)
    words = ("--bundle", target, "--xmp", "--threshold", "0", "--cache", folder / "cache")
    return (edge("tag", folder / "photos", *words, "--quiet"),)


@cache
def embedding_seeds() -> Sequence[bytes]:
    from edge.embedding.table import Embeddings, Header, write_embeddings
    from edge.runtime.contract import Preprocessing

    table = Embeddings(
        header=Header(
            extractor="ab" * 32,
            name="channels",
            source={"kind": "bundle", "path": "/nowhere"},
            preprocessing=Preprocessing(height=16, width=16),
            root="/nowhere",
        ),
        vectors=np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32),
        paths=tuple(f"cat/{number}.png" for number in range(8)),
        sha256=tuple(f"{number:064x}" for number in range(8)),
        classes=("cat", "dog") * 4,
    )
    write_embeddings(table, materials() / "embeddings.npz")
    return [(materials() / "embeddings.npz").read_bytes()]


def place_embeddings(folder: Path, content: bytes) -> Sequence[Command]:
    path, picture = folder / "embeddings.npz", folder / "p.png"
    path.write_bytes(content)
    picture.write_bytes(photo())
    return (
        call("read_embeddings", path, "edge.embedding.table"),
        call("read_embeddings", path, "edge.embedding.table"),
        edge("similar", picture, path, "--quiet"),
        edge("similar", picture, path, "--quiet"),
        edge("map", path, "-o", folder / "map.html", "--points", "8", "--quiet"),
    )


@cache
def word_seeds() -> Sequence[bytes]:
    random = np.random.default_rng(0)
    words = ("the", "usa", "dollar", "mexico", "peso", ". . .", "grün")
    lines = [
        " ".join([word, *(f"{value:.5f}" for value in random.normal(size=6))]) for word in words
    ]
    text = ("\n".join(lines) + "\n").encode()
    return [text, b"7 6\n" + text, gzip.compress(text, mtime=0)]


def mutated_words(random: Random, seeds: Sequence[bytes]) -> bytes:
    content = mutated_lines(random, seeds[:2])
    kind = random.random()
    if kind < 0.2:
        return gzip.compress(content, mtime=0)
    return mutated_bytes(random, seeds[2:]) if kind < 0.4 else content


def place_words(folder: Path, content: bytes) -> Sequence[Command]:
    path = folder / "words.txt"
    path.write_bytes(content)
    place = ("--cache", folder / "cache", "--quiet")
    return (
        edge("similar", "usa", path, *place),
        edge("similar", "usa", path, "--json", *place),
        edge("analogy", "usa", "dollar", "mexico", path, *place),
    )


SERIES: Final = (
    b"file,group\nred/0.png,1\nred/1.png,1\nblue/0.png,2\nblue/1.png,3\n",
    "file;group;camera\nred/0.png;gr\u00fcn;1\nred\\1.png;'=x;1\n".encode(),
)


def place_series(folder: Path, content: bytes) -> Sequence[Command]:
    path = folder / "series.csv"
    path.write_bytes(content)
    return (call("read_groups", path, "edge.dataset.groups"),)


def kinds() -> Iterator[Kind]:
    made = partial(Kind, imports=HOST)
    yield made(name="series", seeds=lambda: SERIES, mutate=mutated_lines, place=place_series)
    yield made(name="truth", seeds=lambda: TRUTH, mutate=mutated_lines, place=place_truth)
    yield made(name="groups", seeds=lambda: GROUPS, mutate=mutated_lines, place=place_groups)
    yield made(name="XMP", seeds=sidecar_seeds, mutate=mutated_sidecar, place=place_sidecar)
    yield made(
        name="embeddings",
        seeds=embedding_seeds,
        mutate=mutated_zip(hostile_member),
        place=place_embeddings,
        planted=planted("npz_read_embeddings_special_bad_descr.npz"),
    )
    yield made(
        name="words",
        seeds=word_seeds,
        mutate=mutated_words,
        place=place_words,
        planted=lambda: (gzip_bomb(),),
    )
