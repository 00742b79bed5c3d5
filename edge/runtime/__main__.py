"""``python3 -m edge.runtime`` on the device; see ``edge.runtime.command_line``."""

from edge.runtime.entry import enter

if __name__ == "__main__":
    enter("edge.runtime.command_line")
