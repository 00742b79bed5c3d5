"""Hostile pictures of every format."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

from tests.fuzz.harness import Command, Kind, edge, runtime
from tests.fuzz.kinds.materials import HOST, bundle, copied, photo, planted
from tests.fuzz.mutation import (
    mutated_picture,
)
from tests.unit.conftest import encoded, noise


def picture_seeds(format_: str, **options: Any) -> Callable[[], Sequence[bytes]]:
    """Pictures of some sizes and modes in one format."""

    @cache
    def make() -> Sequence[bytes]:
        found = [encoded(noise(number, 24, 40), format_, **options) for number in range(2)]
        found.append(encoded(Image.new("L", (33, 17), 99), format_, **options))
        if format_ in ("PNG", "WEBP", "TIFF"):
            found.append(encoded(noise(3).convert("RGBA"), format_, **options))
        if format_ == "PNG":
            deep = np.arange(48 * 48, dtype=np.uint16).reshape(48, 48) * 20
            found.append(encoded(Image.fromarray(deep), format_))
            found.append(encoded(noise(4).quantize(16), format_))
        if format_ == "GIF":
            frames = [noise(number).quantize(16) for number in range(3)]
            found.append(encoded(frames[0], format_, save_all=True, append_images=frames[1:]))
        if format_ == "TIFF":
            for packed in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
                found.append(encoded(noise(5), format_, compression=packed))
        return found

    return make


def place_picture(folder: Path, content: bytes, *, suffix: str) -> Sequence[Command]:
    place = copied(bundle(), folder)
    path = folder / "photos" / "grün" / f"picture{suffix}"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    inbox = folder / "inbox"
    inbox.mkdir()
    shutil.copy(path, inbox)
    (inbox / "whole.png").write_bytes(photo())
    cache = ("--cache", folder / "cache", "--quiet")
    return (
        runtime("predict", place, path, "--json"),
        runtime("predict", place, path),
        runtime("predict", place, path, "--variant", "tflite-int8"),
        runtime("watch", inbox, "--bundle", place, "--once"),
        edge("predict", place, path),
        edge("tag", path.parent, "--bundle", place, *cache),
        edge("evaluate", place, folder / "photos", "--variant", "tflite-int8", "--quiet"),
    )


def picture_kind(name: str, format_: str, *names: str, **options: Any) -> Kind:
    return Kind(
        name=name,
        seeds=picture_seeds(format_, **options),
        mutate=mutated_picture,
        place=partial(place_picture, suffix=f".{format_.lower()}"),
        imports=HOST,
        planted=planted(*names),
    )


def kinds() -> Iterator[Kind]:
    yield picture_kind("JPEG", "JPEG", quality=90)
    yield picture_kind("progressive JPEG", "JPEG", "poison_scans.jpg", quality=90, progressive=True)
    yield picture_kind("PNG", "PNG", "png_bomb_rgba.png")
    for name in ("GIF", "WebP", "BMP", "TIFF"):
        yield picture_kind(name, name.upper())
    if features.check("avif"):
        yield picture_kind("AVIF", "AVIF")
