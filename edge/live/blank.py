"""A bundle that knows no class yet: what a person begins to teach.

Its model is the shipped MobileNet, whose answer is the embedding of a picture, and its head has no
row. TensorFlow starts when it is made for the first time with these versions; from then on it lies
in the cache.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import edge
from converters.base import TARGETS
from edge.cache import SEAL, StageCache, content_key
from edge.embedding.extractor import Extractor, base_extractor
from edge.pipeline.bundle import (
    check_copies,
    copy_runtime,
    hashed_files,
    write_files,
    write_golden_of,
    write_head,
)
from edge.pipeline.conversion import Converted
from edge.progress import Progress, Silent
from edge.runtime.bundle import MANIFEST_NAME
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file, write_json
from edge.runtime.head import Head
from edge.runtime.output import HeadKind, HeadSpec
from edge.runtime.session import open_session
from edge.runtime.spec import Manifest, Variant
from edge.training.base import Base
from edge.training.head import PATH
from edge.training.options import BaseOptions
from edge.versions import versions

COMMAND: Final = "live"  # what the provenance of such a bundle names
_LAYOUT: Final = 1  # of what is written here; bundles of another one are made again
_TARGET: Final = TARGETS["tflite-fp32"]
# Factor of the cosines: where nothing was taught there is nothing to fit it to. Of 10 to 200 it has
# the least, or nearly the least, mean negative log-likelihood on held-out photos of dogs and cats,
# with 3 to 20 pictures of each taught: 0.09 with 5 pictures, where 20 has 0.16 and 200 has 0.17.
_SCALE: Final = 40.0
_HEAD: Final = HeadSpec(kind=HeadKind.IMPRINTED, path=PATH, scale=_SCALE)


def blank_bundle(cache: StageCache, name: str, progress: Progress | None = None) -> Path:
    """Return a bundle without a class, in the cache; copy it with ``copy_bundle``.

    Args:
        cache: Where it is found, or kept from now on.
        name: What its manifest calls the model.
        progress: Is told of the stage, where the bundle has to be made.

    Raises:
        OutputError: The cache cannot be written.
        ConversionError: The network cannot be converted.
        InferenceError: No interpreter runs it.
    """
    base = Base(BaseOptions())
    key = content_key(
        "blank",
        {
            "layout": _LAYOUT,
            "name": name,
            "weights": base.id,
            "preprocessing": base.preprocessing.sha256,
            "head": _HEAD.to_json(),
            "runtime": _runtime_sha256(),
            "versions": versions(),
        },
    )
    if cache.find(key) is None:
        with (progress or Silent()).stage("a bundle to teach"):
            extractor = base_extractor(base, cache)
            with cache.store(key) as folder:
                _write(folder, extractor, name, _provenance(base, extractor))
    return cache.entry(key)


def copy_bundle(entry: Path, folder: Path) -> None:
    """Copy a bundle of the cache into an empty folder, without the cache's own list of hashes.

    Raises:
        OutputError: The cache changed meanwhile.
        OSError: It cannot be written.
    """
    shutil.copytree(
        entry,
        folder,
        ignore=shutil.ignore_patterns(SEAL),
        copy_function=shutil.copyfile,
        dirs_exist_ok=True,
    )
    copied = hashed_files(folder)
    check_copies({name: entry / name for name in copied}, copied)


def _write(folder: Path, extractor: Extractor, name: str, origin: Mapping[str, Any]) -> None:
    contract = extractor.preprocessing
    model = Converted(
        target=_TARGET, path=extractor.path, seconds=extractor.seconds, notes=(), record={}
    )
    write_files(folder, [model], ())
    write_golden_of(folder, [model], drawn(contract), contract)
    nothing = np.empty((0, extractor.features), np.float32)
    write_head(folder, Head(spec=_HEAD, labels=(), vectors=nothing, classes=np.empty(0, np.int64)))
    copy_runtime(folder / "runtime")
    files = hashed_files(folder)
    variant = _variant(extractor.path)
    check_copies({variant.path: extractor.path}, files)
    manifest = Manifest(
        name=name,
        labels=(),
        preprocessing=contract,
        variants=(variant,),
        default_variant=variant.name,
        files=files,
        provenance=origin,
        head=_HEAD,
    )
    write_json(folder / MANIFEST_NAME, manifest.to_json())


def _variant(path: Path) -> Variant:
    """Return the only model file, which nothing was scored with: there is no class to score."""
    return Variant(
        name=_TARGET.name,
        path=f"models/{_TARGET.filename}",
        format=_TARGET.format,
        precision=str(_TARGET.precision),
        size_bytes=path.stat().st_size,
        input_dtype=open_session(path).inputs[0].dtype,
    )


def _provenance(base: Base, extractor: Extractor) -> Mapping[str, Any]:
    return {
        "command": COMMAND,
        "description": "A bundle without classes, made by edge live to be taught. Nothing was "
        "trained on pictures of its classes, and no score was measured.",
        "input": base.find_input((), Silent()).provenance(),
        "backbone": base.name,
        "weights": base.id,
        "features": extractor.features,
        "versions": versions(),
    }


def drawn(contract: Preprocessing) -> list[NDArray[np.uint8]]:
    """Draw the pictures of the self-test, three that differ: colours, edges, and noise.

    The self-test compares embeddings, so that it matters little what the pictures show, as long
    as many channels of the network answer.

    Returns:
        uint8 (height, width, channels) each.
    """
    height, width, channels = contract.shape
    rows, columns = np.mgrid[0:height, 0:width]
    across, down = 255 * columns / max(1, width - 1), 255 * rows / max(1, height - 1)
    colours = np.stack([across, down, 255 - (across + down) / 2], axis=-1)
    disc = np.hypot(rows - height / 2, columns - width / 2) < min(height, width) / 3
    stripes = np.where((rows + columns) // 8 % 2 == 0, 230.0, 25.0)
    edges = np.stack([np.where(disc, 200.0, stripes), stripes, np.where(disc, 40.0, 90.0)], axis=-1)
    blocks = np.random.default_rng(0).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3))
    noise = blocks.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
    return [picture[..., :channels].astype(np.uint8) for picture in (colours, edges, noise)]


def _runtime_sha256() -> str:
    """Return the hash (hex) of what ``copy_runtime`` copies: another runtime is another bundle."""
    source = Path(edge.__file__).parent
    paths = [source / "__init__.py", source / "errors.py"]
    paths += [path for path in sorted((source / "runtime").rglob("*")) if path.is_file()]
    digest = hashlib.sha256()
    for path in paths:
        if "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(source)} {sha256_file(path)}\n".encode())
    return digest.hexdigest()
