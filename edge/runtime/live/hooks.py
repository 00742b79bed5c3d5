"""What a host adds to a live session: it keeps the pictures, and makes a bundle of them."""

from typing import Any, Protocol


class Keeper(Protocol):
    """Is told of every change of what was taught, after it was kept in the bundle."""

    def taught(self, label: str, image: str, jpeg: bytes, burst: str) -> None:
        """A picture was learnt.

        Args:
            label: Its class.
            image: The sha256 (hex) of its bytes.
            jpeg: The bytes.
            burst: What the pictures of one press of the button share; empty where that is not
                known.

        Raises:
            OutputError: It cannot be kept.
        """

    def changed(self, examples: dict[str, str]) -> None:
        """Something was forgotten, renamed, removed, or brought back.

        Args:
            examples: The class of every picture that is taught now, by the sha256 (hex) of its
                bytes.

        Raises:
            OutputError: The folder cannot be written.
        """


class Exporter(Protocol):
    """Makes a bundle of what was taught."""

    @property
    def state(self) -> dict[str, Any]:
        """JSON values: ``offered``, ``running``, ``message``, ``bundle``, ``error``."""
        ...

    def start(self, name: str) -> None:
        """Begin; ``state`` tells how it goes on.

        Raises:
            UsageError: One is running, there are too few pictures, or the name cannot be used.
        """

    def close(self) -> None:
        """End what is running."""
