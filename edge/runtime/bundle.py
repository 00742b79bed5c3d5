"""Reading a bundle: manifest, seal, hashes, paths that stay inside."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final, Self

from edge.errors import BundleError, PackageMissing, UsageError, cause_of
from edge.runtime import checked
from edge.runtime.files import held_copy, sha256_file
from edge.runtime.frozen import frozen_dataclass
from edge.runtime.output import TAUGHT_NAME
from edge.runtime.seal import GONE, SIGNATURE_NAME, altered, sealed_by
from edge.runtime.spec import Manifest, Variant

MANIFEST_NAME: Final = "manifest.json"
LABELS_NAME: Final = "labels.txt"
# What Python writes beside a source: of it, its interpreter and optimization; for a moment with a
# number behind (PEP 3147, PEP 488, importlib's own atomic write).
COMPILED: Final = re.compile(r"([^./]+)\.[\w-]+(?:\.opt-\w+)?\.pyc(?:\.\d+)?", re.ASCII)
MAX_CONTENT: Final = checked.MAX_BYTES
ROOT: Final = "./"  # the name of a bundle's own folder where it cannot be listed
MAX_MANIFEST: Final = 4 << 20  # bytes; the labels of ImageNet-21k take 0.6 MB of it


@frozen_dataclass()
class Bundle:
    """A bundle on disk whose manifest has been read.

    Attributes:
        path: Its folder.
        manifest: As it was read.
        digest: sha256 (hex) of the bytes of the manifest that were read.
    """

    path: Path
    manifest: Manifest
    digest: str = ""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the manifest; a signed bundle must be what was signed.

        Raises:
            UsageError: There is no bundle at ``path``.
            BundleAltered: A signed bundle was altered, or two lists of labels differ.
            BundleError: The manifest cannot be used.
        """
        content = manifest_bytes(path)
        if (path / SIGNATURE_NAME).is_file():
            with suppress(PackageMissing):  # edge verify says that it cannot be checked
                sealed_by(path, content)  # before the manifest is read: it may say anything
        bundle = cls.parsed(path, content)
        if bundle.signed:
            bundle._check_seal()
        bundle._check_labels()
        return bundle

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the manifest of a bundle that may be altered; arguments and errors as ``open``."""
        return cls.parsed(path, manifest_bytes(path))

    @classmethod
    def parsed(cls, path: Path, content: bytes) -> Self:
        """Do as ``read``, with a manifest whose bytes have been read, and were perhaps checked."""
        try:
            value = checked.parse_json(content, "the manifest", max_bytes=MAX_MANIFEST)
        except ValueError as error:
            raise BundleError(
                f"{path / MANIFEST_NAME} cannot be read: {cause_of(error)}",
                hint="Copy or build the bundle again.",
            ) from error
        try:
            manifest = Manifest.from_json(value)
        except BundleError as error:
            raise BundleError(
                f"{path / MANIFEST_NAME}: {error.message}",
                hint=error.hint or "Copy or build the bundle again.",
            ) from error
        return cls(path, manifest, hashlib.sha256(content).hexdigest())

    @property
    def signed(self) -> bool:
        """Whether it was ever signed, by what it says itself."""
        return self.manifest.release is not None or (self.path / SIGNATURE_NAME).is_file()

    def model(self, variant: str | None = None) -> tuple[Variant, Path]:
        """Return the variant of that name (or the default one) and its file, its hash checked.

        Raises:
            BundleError: No such variant, or the file is missing or altered.
        """
        chosen = self.manifest.variant(variant)
        return chosen, self.checked(chosen.path)

    def checked(self, relative: str) -> Path:
        """Return the absolute path of a listed file, its hash checked.

        Raises:
            BundleError: Not listed, leads outside, missing, or altered.
        """
        path, problem = self._inside(relative), self._problem(relative)
        if problem:
            raise altered(problem, signed=self.signed)
        return path

    def content(self, relative: str, *, max_bytes: int = MAX_CONTENT) -> bytes:
        """Return the bytes of a listed file, which is read once: they are what was hashed.

        Raises:
            BundleError: Not listed, leads outside, missing, altered, or larger than that.
        """
        path, expected = self._listed(relative)
        try:
            content = checked.read_bytes(path, "it", max_bytes=max_bytes)
        except (OSError, ValueError) as error:
            raise BundleError(f"{relative} cannot be read: {cause_of(error)}") from error
        if hashlib.sha256(content).hexdigest() != expected:
            raise altered(_differs(relative), signed=self.signed)
        return content

    @contextmanager
    def held(self, relative: str) -> Iterator[Path]:
        """Hold a copy of a listed file that is what was hashed, at a path for this process.

        Raises:
            BundleError: Not listed, leads outside, missing, altered, or there is no room for it.
        """
        path, expected = self._listed(relative)
        with ExitStack() as stack:
            try:
                place, digest = stack.enter_context(held_copy(path))
            except (OSError, ValueError) as error:
                raise BundleError(f"{relative} cannot be read: {cause_of(error)}") from error
            if digest != expected:
                raise altered(_differs(relative), signed=self.signed)
            yield place

    def verify(self) -> None:
        """Check every listed file, and that a signed bundle holds no other.

        Raises:
            BundleAltered: The first file that is missing, altered, or was added.
        """
        for relative in self.manifest.files:
            self.checked(relative)
        if self.signed:
            for name in self.unlisted():
                raise altered(_more(name), signed=True)

    def problems(self) -> tuple[str, ...]:
        """Return why the files are not those of the manifest, a clause each; empty if they are.

        A file that the manifest does not list counts: below ``runtime`` it would be imported.
        """
        problems = filter(None, map(self._problem, self.manifest.files))
        return (*problems, *map(_more, self.unlisted()))

    def _problem(self, relative: str) -> str:
        """Return what is wrong with a listed file, a clause; empty if nothing is."""
        try:
            path = self._inside(relative)
        except BundleError as error:
            return error.message
        missing = self._missing(relative, path)
        if missing:
            return missing
        try:
            digest = sha256_file(path)
        except OSError as error:
            return f"{relative} cannot be read: {cause_of(error)}"
        return "" if digest == self.manifest.files[relative] else _differs(relative)

    def _listed(self, relative: str) -> tuple[Path, str]:
        """Return the path and the sha256 (hex) of a listed file that is there.

        Raises:
            BundleError: It is not, or leads outside.
        """
        path = self._inside(relative)
        missing = self._missing(relative, path)
        if missing:
            raise altered(missing, signed=self.signed)
        return path, self.manifest.files[relative]

    def _missing(self, relative: str, path: Path) -> str:
        """Return why there is no such listed file, a clause; empty if there is."""
        if relative not in self.manifest.files:
            return f"the manifest does not list {relative}"
        try:
            return "" if path.is_file() else f"the bundle lacks {relative}"
        except OSError as error:
            return f"{relative} cannot be read: {cause_of(error)}"

    def unlisted(self) -> list[str]:
        """Return the relative names of files that the manifest does not list, sorted.

        What a bundle with a head was taught is no part of the release, and is not among them; nor
        is what Python compiled when the bundle ran. A folder that nobody may look into is, with a
        slash at its end: Python may import from it all the same.
        """
        known = {*self.manifest.files, MANIFEST_NAME, SIGNATURE_NAME}
        if self.manifest.head is not None and not (self.path / TAUGHT_NAME).is_symlink():
            known.add(TAUGHT_NAME)
        return sorted(set(_names(self.path)) - known - set(self.compiled()))

    def compiled(self) -> list[str]:
        """Return the relative names of files that Python compiled from listed sources, sorted.

        Python writes them beside the runtime, and runs them in place of the sources. No deploy
        takes them along.
        """
        names = set(_names(self.path)) - set(self.manifest.files)
        return sorted(name for name in names if _source(name) in self.manifest.files)

    def _check_seal(self) -> None:
        """Refuse a signed bundle whose files show that it was altered.

        The models and the network that they came from are hashed when they are used. A device has
        only what it needs of a bundle.

        Raises:
            BundleAltered: A file is not what was signed, or the signature is gone.
        """
        if not (self.path / SIGNATURE_NAME).is_file():
            raise altered(GONE, signed=True)
        models = {item.path for item in self.manifest.variants}
        for relative in self.manifest.files:
            if relative in models or relative.startswith("source/"):
                continue
            if self._inside(relative).is_file():
                self.checked(relative)
        for name in self.unlisted():
            if name == ROOT or name.startswith("runtime/"):
                raise altered(_more(name), signed=True)

    def _check_labels(self) -> None:
        """Refuse a manifest whose labels are not those of the bundle's own list of them.

        Nothing else of a bundle that is not signed shows that classes have changed places.

        Raises:
            BundleAltered: The list is not as the manifest has it.
        """
        if LABELS_NAME not in self.manifest.files or not self._inside(LABELS_NAME).is_file():
            return
        if self.content(LABELS_NAME) != labels_text(self.manifest.labels).encode():
            raise altered(
                f"{LABELS_NAME} and {MANIFEST_NAME} do not name the same classes",
                signed=self.signed,
            )

    def _inside(self, relative: str) -> Path:
        pure = PurePosixPath(relative)
        if pure.is_absolute() or ".." in pure.parts or "\\" in relative:
            raise BundleError(f"the manifest names a path outside the bundle: {relative!r}")
        path = self.path / pure
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise BundleError(f"{relative!r} leads outside the bundle through a link")
        return path


def manifest_bytes(path: Path) -> bytes:
    """Return the bytes of the manifest: who reads them once checks what is used.

    Raises:
        UsageError: There is no bundle at ``path``.
        BundleError: They cannot be read.
    """
    if not is_bundle(path):
        raise UsageError(
            f"no bundle at {path}: {_no_bundle(path)}",
            hint=_way_to_a_bundle(path),
        )
    try:
        return checked.read_bytes(path / MANIFEST_NAME, "the manifest", max_bytes=MAX_MANIFEST)
    except (OSError, checked.Malformed) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BundleError(
            f"{path / MANIFEST_NAME} cannot be read: {reason}",
            hint="Copy or build the bundle again.",
        ) from error


def _differs(relative: str) -> str:
    return f"{relative} is not the file that the manifest lists (sha256 differs)"


def _no_bundle(path: Path) -> str:
    """Return what lies where a bundle was expected, a clause."""
    if path.is_file():
        return "it is a file"
    if path.is_dir():
        return f"it has no {MANIFEST_NAME}"
    return "there is no such folder"


def _way_to_a_bundle(path: Path) -> str:
    """Return what to do where a bundle was expected and something else, or nothing, lies."""
    if path.is_file() and path.suffix.lower() in (".tflite", ".onnx"):
        return (
            "A model file is only a part of a bundle. edge inspect and edge benchmark take it as "
            "it is; edge build and edge export make bundles."
        )
    if path.is_file():
        return (
            "A bundle is a folder. Of a trained network, edge export MODEL --calibration-data "
            "PHOTOS --output BUNDLE makes one; of photos alone, edge build PHOTOS --output BUNDLE."
        )
    return "Make one with: edge build PHOTOS --output BUNDLE"


def _names(folder: Path) -> list[str]:
    """Return the relative names of all files and links below a folder, with forward slashes.

    A folder that cannot be listed is among them, with a slash at its end.
    """
    names = []

    def hidden(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # it went meanwhile
            names.append(f"{Path(error.filename).relative_to(folder).as_posix()}/")

    for directory, folders, files in os.walk(folder, onerror=hidden):
        links = [name for name in folders if Path(directory, name).is_symlink()]
        names += [Path(directory, name).relative_to(folder).as_posix() for name in files + links]
    return names


def _source(name: str) -> str:
    """Return the source that Python compiled into a file of that name (PEP 3147); else nothing."""
    pure = PurePosixPath(name)
    found = COMPILED.fullmatch(pure.name)
    if found is None or pure.parent.name != "__pycache__" or name.endswith("/"):
        return ""
    return str(pure.parent.with_name(f"{found[1]}.py"))


def _more(name: str) -> str:
    """Say of one of ``unlisted`` what is wrong with it, a clause."""
    if name.endswith("/"):
        return f"nobody may look into the folder {name}, which could hold anything"
    return f"the manifest does not list {name}"


def labels_text(labels: Sequence[str]) -> str:
    """Return what ``labels.txt`` of a bundle holds: a label a line."""
    return "".join(f"{label}\n" for label in labels)


def is_bundle(path: Path) -> bool:
    """Return whether a manifest lies at ``path``."""
    try:
        return (path / MANIFEST_NAME).is_file()
    except OSError:
        return False
