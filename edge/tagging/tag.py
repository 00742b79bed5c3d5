"""``edge tag``: a folder of pictures -> an index of their tags, which only grows by what is new."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge.cache import StageCache, content_key, say
from edge.dataset.folder import list_files
from edge.dataset.levels import levels_notes
from edge.dataset.pictures import Picture
from edge.embedding.features import extract
from edge.embedding.imagenet import imagenet_classifier
from edge.errors import DataError, UsageError
from edge.evaluation.cluster import check_address
from edge.progress import Progress, Step
from edge.runtime.bundle import Bundle
from edge.runtime.files import readable, sha256_file
from edge.runtime.head import Head, class_probabilities
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.spec import Preprocessing
from edge.runtime.taught import LearningHead
from edge.tagging.index import FileStamp, TagIndex
from edge.tagging.options import MAX_TAGS, NETWORK, THRESHOLD, TagOptions
from edge.tagging.tags import Tagged, choose
from edge.threads import in_threads

CHUNK: Final = 512  # pictures between two writes of the index; bounds the scores in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRun:
    """What a run found.

    Attributes:
        settings: How the pictures of the index were tagged.
        pictures: Of the index, sorted by path.
        fresh: How many of them this run tagged.
    """

    settings: Mapping[str, Any]
    pictures: tuple[Tagged, ...]
    fresh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    path: Path
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    head: Head | None = None  # of a bundle whose files answer with embeddings
    output: OutputSpec = PROBABILITIES


def tag(
    directory: Path, index: TagIndex, options: TagOptions, cache: StageCache, progress: Progress
) -> TagRun:
    """Tag what is new or changed, forget what is gone. No picture is ever changed.

    Raises:
        DataError: The folder cannot be used.
        UsageError: No such bundle, variant or network; two of them at once.
        UsageError, ConnectionFailed: See ``run_on_cluster``.
        WeightsUnavailable, ModelLoadError, InferenceError, ConversionError: The model fails.
        OutputError: The cache or the index cannot be written.
    """
    index.hold()
    cache.hold()
    chosen = _resolved(options, index.settings)
    if options.dask is not None:
        check_address(options.dask)
    model, settings = _model(chosen, cache, progress)
    files = list_files(directory)
    for note in files.notes():
        progress.note(note)
    index.start(settings)
    known = index.stamps()
    if index.doubted:
        progress.note(
            f"{index.doubted} pictures in {index.path.name} did not fit their checksums; they are "
            "tagged again"
        )
    found = {path.relative_to(directory): path for path in files.images}
    index.remove(known.keys() - found.keys())
    stamps = {relative: _stamp(path) for relative, path in found.items()}
    new = [relative for relative in found if known.get(relative) != stamps[relative]]
    for note in levels_notes(model.preprocessing, [found[relative] for relative in new]):
        progress.note(note)
    if new:
        with progress.stage("tag", total=len(new)) as step:
            # A cluster gets all at once: it is joined anew for every part.
            for part in _parts(new, len(new) if options.dask else CHUNK):
                index.add(
                    _tagged(directory, part, stamps, model, settings, options.dask, cache, step)
                )
    return TagRun(settings=settings, pictures=tuple(index.pictures()), fresh=len(new))


def kept(directory: Path, index: TagIndex) -> TagRun:
    """What the index holds, without looking at the pictures.

    Raises:
        UsageError: Nothing was tagged yet.
    """
    settings = index.settings
    if settings is None:
        raise UsageError(
            f"{readable(directory)} has not been tagged yet", hint="Leave out --no-update."
        )
    pictures = tuple(index.pictures())
    if index.doubted:
        say(
            f"{index.doubted} pictures in {readable(index.path)} did not fit their checksums and "
            "are left out: without --no-update they are tagged again"
        )
    return TagRun(settings=settings, pictures=pictures, fresh=0)


def _resolved(options: TagOptions, before: Mapping[str, Any] | None) -> TagOptions:
    """Every option with its value: the user's, else the last run's, else the default."""
    if options.bundle is not None and options.backbone is not None:
        raise UsageError("--bundle and --backbone both name a classifier", hint="Keep one of them.")
    last = before or {}
    bundle, variant, backbone = options.bundle, options.variant, options.backbone
    if bundle is None and backbone is None:
        bundle = None if last.get("bundle") is None else Path(last["bundle"])
        variant = variant or last.get("variant")
        backbone = last.get("network") or (None if bundle else NETWORK)
    if variant is not None and bundle is None:
        raise UsageError("--variant is of a bundle", hint="Name one with --bundle.")
    threshold = last.get("threshold", THRESHOLD)
    most = last.get("max_tags", MAX_TAGS)
    return TagOptions(
        bundle=bundle,
        variant=variant,
        backbone=backbone,
        threshold=threshold if options.threshold is None else options.threshold,
        max_tags=most if options.max_tags is None else options.max_tags,
    )


def _model(
    options: TagOptions, cache: StageCache, progress: Progress
) -> tuple[_Model, dict[str, Any]]:
    """The classifier, and the settings that an index made with it has."""
    if options.bundle is not None:
        bundle = Bundle.open(options.bundle)
        variant, path = bundle.model(options.variant)
        head = LearningHead(bundle, variant).current() if bundle.manifest.head else None
        model = _Model(
            path=path,
            labels=head.labels if head else bundle.manifest.labels,
            preprocessing=bundle.manifest.preprocessing,
            head=head,
            output=bundle.manifest.output,
        )
        named = {"bundle": str(options.bundle.resolve()), "variant": variant.name, "network": None}
    else:
        network = imagenet_classifier(options.backbone or NETWORK, cache, progress)
        model = _Model(
            path=network.path, labels=network.labels, preprocessing=network.preprocessing
        )
        named = {"bundle": None, "variant": None, "network": network.name}
    identity = {
        "model": sha256_file(model.path),
        "labels": list(model.labels),
        "preprocessing": model.preprocessing.sha256,
        "head": model.head and _head_sha256(model.head),
    }
    settings = {
        **named,
        "threshold": options.threshold,
        "max_tags": options.max_tags,
        "classifier": content_key("tagger", identity),
    }
    return model, settings


def _tagged(
    directory: Path,
    relatives: Sequence[Path],
    stamps: Mapping[Path, FileStamp],
    model: _Model,
    settings: Mapping[str, Any],
    dask: str | None,
    cache: StageCache,
    step: Step,
) -> list[tuple[Tagged, FileStamp]]:
    pictures = [directory / relative for relative in relatives]
    hashes = in_threads(_content, pictures)
    images = [
        Picture(path, digest) for path, digest in zip(pictures, hashes, strict=True) if digest
    ]
    features = extract(model.path, images, model.preprocessing, cache=cache, step=step, dask=dask)
    readable_ones = [image.path for image in images if image.path not in features.problems]
    values = features.vectors
    if readable_ones:
        values = class_probabilities(values, model.head, model.output)
    scores = dict(zip(readable_ones, values, strict=True))
    found = []
    for relative, path in zip(relatives, pictures, strict=True):
        if path in scores:
            tags = choose(
                scores[path],
                model.labels,
                threshold=settings["threshold"],
                most=settings["max_tags"],
            )
            found.append((Tagged(path=relative, tags=tags), stamps[relative]))
        else:
            problem = features.problems.get(path) or f"{readable(path)} cannot be read"
            found.append((Tagged(path=relative, problem=problem), stamps[relative]))
    return found


def _head_sha256(head: Head) -> str:
    """Of what a head knows, which changes when it is taught."""
    digest = hashlib.sha256(repr(head.spec).encode())
    digest.update(head.vectors.tobytes())
    digest.update(head.classes.tobytes())
    return digest.hexdigest()


def _content(path: Path) -> str:
    """sha256 of a file; empty where it cannot be read, which is told as a problem of its own."""
    try:
        return sha256_file(path)
    except OSError:
        return ""


def _stamp(path: Path) -> FileStamp:
    try:
        status = path.stat()
    except OSError:  # a link that leads nowhere
        return FileStamp(-1, 0)
    return FileStamp(status.st_size, status.st_mtime_ns)


def _parts(relatives: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    for start in range(0, len(relatives), size):
        yield relatives[start : start + size]


def check_folder(directory: Path) -> None:
    """Refuse what is no folder, before an index is made for it.

    Raises:
        DataError: No folder there.
    """
    if not os.path.isdir(directory):  # noqa: PTH112 - Path.is_dir may raise
        raise DataError(
            f"{readable(directory)} is no folder", hint="Name the folder that holds the pictures."
        )
