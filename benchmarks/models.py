"""What is to be measured: the variants of a bundle, or lone model files."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.accelerators.table import ACCELERATORS
from benchmarks.result import MeasuredModel
from edge.errors import UsageError
from edge.runtime.bundle import Bundle, is_bundle
from edge.runtime.files import sha256_file


def measured_models(
    paths: Sequence[Path], variants: Sequence[str] = ()
) -> tuple[MeasuredModel, ...]:
    """Return the models at those paths, each named once.

    Args:
        paths: Bundles, and model files of any format that a path takes.
        variants: The names of the bundles' variants; all of them if none is named.

    Raises:
        UsageError: There is no such model, or variants are named without a bundle.
        BundleError: A variant is missing or altered.
    """
    if not paths:
        raise UsageError("no model is named", hint="Name a bundle, or a .tflite or .onnx file.")
    if variants and not any(is_bundle(path) for path in paths):
        raise UsageError(
            "--variant names variants of a bundle, and no bundle is named",
            hint="Name a bundle, or leave out --variant.",
        )
    models = [model for path in paths for model in _at(path, variants)]
    return tuple(dict.fromkeys(models))


def _at(path: Path, variants: Sequence[str]) -> Iterator[MeasuredModel]:
    if is_bundle(path):
        yield from _of_bundle(path, variants)
    elif path.is_file():
        yield lone(path)
    else:
        raise UsageError(
            f"no bundle and no model file at {path}",
            hint="Name a folder that edge build wrote, or a .tflite, .onnx or .keras file.",
        )


def lone(path: Path) -> MeasuredModel:
    """Return a model file that stands for itself.

    Raises:
        UsageError: No path takes files of that name.
    """
    suffix = path.suffix.lower().removeprefix(".")
    known = sorted({name for row in ACCELERATORS.values() for name in row.formats})
    if suffix not in known:
        raise UsageError(
            f"{path} is no model file: allowed are names ending in .{', .'.join(known)}"
        )
    return MeasuredModel(
        name=path.name,
        path=path,
        sha256=sha256_file(path),
        size_bytes=path.stat().st_size,
        format=suffix,
    )


def _of_bundle(path: Path, variants: Sequence[str]) -> Iterator[MeasuredModel]:
    bundle = Bundle.open(path)
    names = variants or tuple(item.name for item in bundle.manifest.variants)
    for name in names:
        variant, file = bundle.model(name)
        yield MeasuredModel(
            name=name,
            path=file,
            sha256=sha256_file(file),
            size_bytes=variant.size_bytes,
            format=variant.format,
            bundle=bundle.manifest.name or path.name,
            preprocessing=bundle.manifest.preprocessing,
            top1=variant.top1,
            decoder=bundle.manifest.decoder,
        )
