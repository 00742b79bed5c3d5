"""The head of a running classifier, which learns what its bundle is taught meanwhile."""

from edge.errors import BundleError
from edge.runtime.bundle import Bundle
from edge.runtime.head import Head, read_head
from edge.runtime.spec import Variant
from edge.runtime.taught import read_taught, stamp


class LearningHead:
    """A release's head with what was taught on top, read anew when that has changed.

    Args:
        bundle: One with a head.
        variant: The model file that runs.

    Raises:
        BundleError: The head, or what was taught, cannot be used.
        UsageError: It was taught with another variant.
    """

    def __init__(self, bundle: Bundle, variant: Variant) -> None:
        release = read_head(bundle)
        if release is None:
            raise BundleError("the manifest names no head")
        self._bundle = bundle
        self._variant = variant
        self._model = bundle.manifest.files[variant.path]
        self._release = release
        self._seen: tuple[int, int, int] | None = None
        self._head = release
        self.current()

    def current(self) -> Head:
        """The head with everything that is taught now; one stat where nothing has changed.

        Raises:
            BundleError, UsageError: As at the start.
        """
        seen = stamp(self._bundle)
        if seen != self._seen:
            taught = read_taught(self._bundle)
            if taught is None:
                self._head = self._release
            else:
                taught.check_model(self._variant, self._model)
                self._head = taught.applied(self._release)
            self._seen = seen
        return self._head
