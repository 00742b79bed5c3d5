"""``python -m edge`` is ``edge``."""

from edge.runtime.entry import enter


def main() -> None:
    """Run the command line."""
    enter("edge.cli.app")


if __name__ == "__main__":
    main()
