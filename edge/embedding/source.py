"""What an extractor is made of, in a form that an embedding file can carry."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from edge.cache import StageCache
from edge.embedding.extractor import Extractor, base_extractor, bundle_extractor
from edge.embedding.table import Header
from edge.errors import DataError
from edge.runtime.spec import Resize
from edge.training.backbones import ChannelOrder
from edge.training.base import Base
from edge.training.keras_files import KERAS_SUFFIXES
from edge.training.options import IMAGENET, NONE, BaseOptions

Source = BaseOptions | Path
"""A base, or the path of a bundle."""

_BACKBONE: Final = "backbone"
_BUNDLE: Final = "bundle"


def source_json(source: Source) -> dict[str, Any]:
    """The source as JSON values; paths become absolute, so that they hold from everywhere."""
    if isinstance(source, Path):
        return {"kind": _BUNDLE, "path": str(source.absolute())}
    value = asdict(source)
    if Path(source.backbone).suffix.lower() in KERAS_SUFFIXES:
        value["backbone"] = str(Path(source.backbone).absolute())
    if source.weights not in (IMAGENET, NONE):
        value["weights"] = str(Path(source.weights).absolute())
    return {"kind": _BACKBONE, **value}


def source_from_json(value: Mapping[str, Any]) -> Source:
    """Read what ``source_json`` wrote.

    Raises:
        DataError: A field is missing, unknown or of no known value.
    """
    fields = dict(value)
    kind = fields.pop("kind", None)
    try:
        if kind == _BUNDLE:
            return Path(fields["path"])
        if kind == _BACKBONE:
            order = fields.get("channel_order")
            fields["channel_order"] = None if order is None else ChannelOrder(order)
            return BaseOptions(**fields | {"resize": Resize(fields["resize"])})
    except (KeyError, TypeError, ValueError) as error:
        raise _unknown(f"its source cannot be read: {error}") from error
    raise _unknown(f"its source is of kind {kind!r}")


def open_extractor(source: Source, cache: StageCache) -> Extractor:
    """The extractor of a source; errors as ``base_extractor`` and ``bundle_extractor``."""
    if isinstance(source, Path):
        return bundle_extractor(source, cache)
    return base_extractor(Base(source), cache)


def extractor_of(header: Header, cache: StageCache) -> Extractor:
    """The extractor that made the vectors of a file, made again and compared by its id.

    Raises:
        DataError: What is made of the same source now is another extractor.
    """
    source = source_from_json(header.source)
    extractor = open_extractor(source, cache)
    if not isinstance(source, Path):  # whose levels are those of the embedded pictures
        contract = replace(extractor.preprocessing, levels=header.preprocessing.levels)
        extractor = replace(extractor, preprocessing=contract)
    if extractor.id != header.extractor:
        raise DataError(
            f"the vectors are of another extractor: {header.name} gives "
            f"{_short(extractor.id)} here, the file was made by {_short(header.extractor)}",
            hint="The bundle or weights file has changed since, or the versions of the packages "
            "have: make the file again with edge embed.",
        )
    return extractor


def _short(id_: str) -> str:
    return id_.rpartition("-")[2][:12]


def _unknown(found: str) -> DataError:
    return DataError(f"the embedding file cannot be used: {found}", hint="Run edge embed again.")
