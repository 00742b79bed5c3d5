"""What a worker process is asked for. Standard library and ``edge.runtime`` only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.accelerators.base import Settings
from benchmarks.timing import Protocol
from edge.runtime.spec import Preprocessing

PATHS: Final = ("model", "pixels", "outputs", "image")


class Task(StrEnum):
    """What a worker does."""

    PROBE = "probe"  # say whether the path works here
    OUTPUTS = "outputs"  # run once and leave the outputs in a file
    TIME = "time"  # the protocol, then the outputs and the coverage
    MEMORY = "memory"  # run a few times and say how much memory that took
    END_TO_END = "end-to-end"  # from an image file to an answer, step by step
    PROFILE = "profile"  # times per operator
    SUSTAINED = "sustained"  # run for minutes and say how the time develops
    ESTIMATE = "estimate"  # ask a compiler


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One worker's work.

    Attributes:
        task: What to do.
        place: ``module:callable`` of the path's opener, or of its probe.
        probe: ``module:callable`` of the path's probe; loads the engine before memory counts.
        model: The file; None to probe.
        settings: How to open it.
        protocol: When to stop.
        pixels: .npy file of images, see ``inputs.tensors``; None to generate inputs.
        outputs: .npz file to leave the first inference's outputs in; None for nowhere.
        seconds: Length of a sustained run.
        image: File that an end-to-end run starts from.
        preprocessing: How it becomes pixels there.
    """

    task: Task
    place: str
    probe: str
    model: Path | None = None
    settings: Settings = field(default_factory=Settings)
    protocol: Protocol = field(default_factory=Protocol)
    pixels: Path | None = None
    outputs: Path | None = None
    seconds: float = 0.0
    image: Path | None = None
    preprocessing: Preprocessing | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values; paths become absolute, a worker runs in another folder."""
        value = asdict(self)
        for name in PATHS:
            value[name] = str(value[name].absolute()) if value[name] else None
        delegate = self.settings.delegate
        value["settings"]["delegate"] = str(delegate) if delegate else None
        value["preprocessing"] = self.preprocessing.to_json() if self.preprocessing else None
        value["settings"]["options"] = dict(self.settings.options)
        value["settings"]["shapes"] = dict(self.settings.shapes)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote."""
        paths = {name: Path(value[name]) if value[name] else None for name in PATHS}
        settings = dict(value["settings"])
        settings["delegate"] = Path(settings["delegate"]) if settings["delegate"] else None
        settings["shapes"] = {name: tuple(item) for name, item in settings["shapes"].items()}
        return cls(
            task=Task(value["task"]),
            place=value["place"],
            probe=value["probe"],
            settings=Settings(**settings),
            protocol=Protocol(**value["protocol"]),
            seconds=float(value["seconds"]),
            preprocessing=Preprocessing.from_json(value["preprocessing"])
            if value["preprocessing"]
            else None,
            **paths,
        )
