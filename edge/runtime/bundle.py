"""Reading a bundle: manifest, hashes, paths that stay inside."""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Self

from edge.errors import BundleError, UsageError
from edge.runtime.files import sha256_file
from edge.runtime.spec import Manifest, Variant

MANIFEST_NAME: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk whose manifest has been read."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the manifest.

        Raises:
            UsageError: There is no bundle at ``path``.
            BundleError: The manifest cannot be used.
        """
        if not is_bundle(path):
            raise UsageError(
                f"no bundle at {path}: it has no {MANIFEST_NAME}",
                hint="Make one with: edge build PHOTOS --output BUNDLE",
            )
        try:
            value = json.loads((path / MANIFEST_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BundleError(f"{path / MANIFEST_NAME} cannot be read: {error}") from error
        return cls(path, Manifest.from_json(value))

    def model(self, variant: str | None = None) -> tuple[Variant, Path]:
        """The variant of that name (or the default one) and its file, its hash checked.

        Raises:
            BundleError: No such variant, or the file is missing or altered.
        """
        found = self.manifest.variant(variant)
        return found, self.checked(found.path)

    def checked(self, relative: str) -> Path:
        """The absolute path of a listed file, its hash checked.

        Raises:
            BundleError: Not listed, leads outside, missing, or altered.
        """
        path = self._inside(relative)
        expected = self.manifest.files.get(relative)
        if expected is None:
            raise BundleError(f"the manifest does not list {relative}")
        if not path.is_file():
            raise BundleError(f"the bundle lacks {relative}", hint="Copy or build it again.")
        if sha256_file(path) != expected:
            raise BundleError(
                f"{relative} is not the file that the manifest lists (sha256 differs)",
                hint="The bundle was edited or damaged; copy or build it again.",
            )
        return path

    def verify(self) -> None:
        """Check every listed file.

        Raises:
            BundleError: The first file that is missing or altered.
        """
        for relative in self.manifest.files:
            self.checked(relative)

    def _inside(self, relative: str) -> Path:
        pure = PurePosixPath(relative)
        if pure.is_absolute() or ".." in pure.parts or "\\" in relative:
            raise BundleError(f"the manifest names a path outside the bundle: {relative!r}")
        path = self.path / pure
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise BundleError(f"{relative!r} leads outside the bundle through a link")
        return path


def is_bundle(path: Path) -> bool:
    """Whether a manifest lies at ``path``."""
    try:
        return (path / MANIFEST_NAME).is_file()
    except OSError:
        return False
