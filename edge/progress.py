"""How long work says what it is doing: the command line draws it, libraries may stay silent."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Step = Callable[[int], None]


class Progress(Protocol):
    """Receives the stages of a job."""

    def stage(self, title: str, total: int | None = None) -> AbstractContextManager[Step]:
        """Enter a stage; the context gives a function that takes the number of finished units."""
        ...

    def note(self, text: str) -> None:
        """Say in one sentence why a result may be another than the user thinks.

        It is said even where progress is not shown.
        """
        ...

    def inform(self, text: str) -> None:
        """Say in one sentence what was found out or done, and calls for nothing."""
        ...


class Silent:
    """Progress that nobody watches."""

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Step]:  # noqa: ARG002
        """See ``Progress``."""
        yield lambda count: None  # noqa: ARG005

    def note(self, text: str) -> None:
        """See ``Progress``."""

    def inform(self, text: str) -> None:
        """See ``Progress``."""
