"""``edge tag``: a folder of pictures -> an index of their tags; only what is new is tagged."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

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
from edge.runtime.classifier import check_classifier
from edge.runtime.contract import Preprocessing
from edge.runtime.files import readable, sha256_file
from edge.runtime.head import Head, class_probabilities
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.teach.taught import LearningHead
from edge.tagging.index import FileStamp, TagIndex
from edge.tagging.options import MAX_TAGS, NETWORK, THRESHOLD, TagOptions, TagSettings
from edge.tagging.tags import Tagged, choose
from edge.threads import in_threads

CHUNK: Final = 512  # pictures between two writes of the index; it bounds the scores in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRun:
    """The tags of a folder after a run.

    Attributes:
        settings: How the pictures of the index were tagged.
        pictures: The pictures of the index, sorted by path.
        fresh: The number of them that this run tagged.
    """

    settings: TagSettings
    pictures: tuple[Tagged, ...]
    fresh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Classifier:
    """A model that classifies, and how its scores become tags.

    Attributes:
        path: The model file.
        labels: One label per class.
        preprocessing: The contract of its input.
        settings: The settings of an index that is made with it.
        head: The head of a bundle whose files answer with embeddings.
        output: What the values of the file mean, if there is no head.
    """

    path: Path
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    settings: TagSettings
    head: Head | None = None
    output: OutputSpec = PROBABILITIES


def tag(
    directory: Path, index: TagIndex, options: TagOptions, cache: StageCache, progress: Progress
) -> TagRun:
    """Tag what is new or changed, and forget what is gone. No picture is ever changed.

    Raises:
        DataError: The folder cannot be used.
        UsageError: There is no such bundle, variant or network, or two of them are named.
        UsageError, ConnectionFailed: See ``run_on_cluster``.
        WeightsUnavailable, ModelLoadError, InferenceError, ConversionError: The model fails.
        OutputError: The cache or the index cannot be written.
    """
    index.hold()
    cache.hold()
    chosen = _resolved(options, index.settings)
    if options.dask is not None:
        check_address(options.dask)
    classifier = _classifier(chosen, cache, progress)
    files = list_files(directory)
    for note in files.notes():
        progress.note(note)
    index.start(classifier.settings)
    known = index.stamps()
    if index.doubted:
        progress.note(
            f"{index.doubted} pictures in {index.path.name} did not fit their checksums; they are "
            "tagged again"
        )
    paths = {path.relative_to(directory): path for path in files.images}
    index.remove(known.keys() - paths.keys())
    stamps = {relative: _stamp(path) for relative, path in paths.items()}
    new = [relative for relative in paths if known.get(relative) != stamps[relative]]
    for note in levels_notes(classifier.preprocessing, [paths[relative] for relative in new]):
        progress.note(note)
    if new:
        with progress.stage("tag", total=len(new)) as step:
            # A cluster gets all pictures at once, since it is joined anew for every part.
            for part in _parts(new, len(new) if options.dask else CHUNK):
                tagged = _tagged(classifier, directory, part, chosen.dask, cache, step)
                index.add([(picture, stamps[picture.path]) for picture in tagged])
    return TagRun(settings=classifier.settings, pictures=tuple(index.pictures()), fresh=len(new))


def kept(directory: Path, index: TagIndex) -> TagRun:
    """Return what the index holds, without looking at the pictures.

    Raises:
        UsageError: Nothing has been tagged yet.
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


def _resolved(options: TagOptions, before: TagSettings | None) -> TagOptions:
    """Give every option its value: that of the user, of the last run, or the default."""
    if options.bundle is not None and options.backbone is not None:
        raise UsageError("--bundle and --backbone both name a classifier", hint="Keep one of them.")
    last = before or TagSettings()
    bundle, variant, backbone = options.bundle, options.variant, options.backbone
    if bundle is None and backbone is None:
        bundle = None if last.bundle is None else Path(last.bundle)
        variant = variant or last.variant
        backbone = last.network or (None if bundle else NETWORK)
    if variant is not None and bundle is None:
        raise UsageError("--variant is of a bundle", hint="Name one with --bundle.")
    return TagOptions(
        bundle=bundle,
        variant=variant,
        backbone=backbone,
        threshold=last.threshold if options.threshold is None else options.threshold,
        max_tags=last.max_tags if options.max_tags is None else options.max_tags,
        dask=options.dask,
    )


def _classifier(options: TagOptions, cache: StageCache, progress: Progress) -> _Classifier:
    """Open the classifier that the resolved options name."""
    if options.bundle is not None:
        bundle = Bundle.open(options.bundle)
        check_classifier(bundle)
        variant, path = bundle.model(options.variant)
        head = LearningHead(bundle, variant).current() if bundle.manifest.head else None
        classifier = _Classifier(
            path=path,
            labels=head.labels if head else bundle.manifest.labels,
            preprocessing=bundle.manifest.preprocessing,
            settings=TagSettings(bundle=str(options.bundle.resolve()), variant=variant.name),
            head=head,
            output=bundle.manifest.output,
        )
    else:
        network = imagenet_classifier(options.backbone or NETWORK, cache, progress)
        classifier = _Classifier(
            path=network.path,
            labels=network.labels,
            preprocessing=network.preprocessing,
            settings=TagSettings(network=network.name),
        )
    return replace(
        classifier,
        settings=replace(
            classifier.settings,
            threshold=THRESHOLD if options.threshold is None else options.threshold,
            max_tags=MAX_TAGS if options.max_tags is None else options.max_tags,
            classifier=_identity(classifier),
        ),
    )


def _identity(classifier: _Classifier) -> str:
    """Return the content key of whatever decides the scores."""
    parts = {
        "model": sha256_file(classifier.path),
        "labels": list(classifier.labels),
        "preprocessing": classifier.preprocessing.sha256,
        "head": classifier.head and _head_sha256(classifier.head),
    }
    return content_key("tagger", parts)


def _head_sha256(head: Head) -> str:
    """Hash what a head knows, which changes when it is taught."""
    digest = hashlib.sha256(repr(head.spec).encode())
    digest.update(head.vectors.tobytes())
    digest.update(head.classes.tobytes())
    return digest.hexdigest()


def _tagged(
    classifier: _Classifier,
    directory: Path,
    relatives: Sequence[Path],
    dask: str | None,
    cache: StageCache,
    step: Step,
) -> Iterator[Tagged]:
    """Tag pictures, which are given by their paths in the folder, in that order."""
    paths = [directory / relative for relative in relatives]
    hashes = in_threads(_content, paths)
    images = [Picture(path, digest) for path, digest in zip(paths, hashes, strict=True) if digest]
    features = extract(
        classifier.path, images, classifier.preprocessing, cache=cache, step=step, dask=dask
    )
    decoded = [image.path for image in images if image.path not in features.problems]
    values = features.vectors
    if decoded:
        values = class_probabilities(values, classifier.head, classifier.output)
    scores = dict(zip(decoded, values, strict=True))
    settings = classifier.settings
    for relative, path in zip(relatives, paths, strict=True):
        if path in scores:
            tags = choose(
                scores[path],
                classifier.labels,
                threshold=settings.threshold,
                most=settings.max_tags,
            )
            yield Tagged(path=relative, tags=tags)
        else:
            problem = features.problems.get(path) or f"{readable(path)} cannot be read"
            yield Tagged(path=relative, problem=problem)


def _content(path: Path) -> str:
    """Return the sha256 of a file; empty if it cannot be read, which is a problem of its own."""
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
    """Refuse what is not a folder, before an index is made for it.

    Raises:
        DataError: There is no folder at the path.
    """
    if not os.path.isdir(directory):  # noqa: PTH112 - Path.is_dir may raise
        raise DataError(
            f"{readable(directory)} is not a folder",
            hint="Name the folder that holds the pictures.",
        )
