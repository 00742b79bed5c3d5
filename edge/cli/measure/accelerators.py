"""``edge accelerators``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge.cli import options as shared
from edge.cli.help import example
from edge.cli.measure import options
from edge.runtime.streams import say

if TYPE_CHECKING:
    from benchmarks.survey import Availability


@example("edge accelerators --python onnxruntime-webgpu=webgpu-env/bin/python")
def accelerators(
    python: options.Pythons = None,
    delegate: options.Delegate = None,
    delegate_option: options.DelegateOptions = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """List the processors that edge benchmark can measure here, and how to get what is missing.

    Each one is tried: what is only installed or registered is not listed as here.
    """
    from benchmarks.accelerators.base import EngineSettings
    from benchmarks.survey import SCHEMA_VERSION, survey
    from edge.cli.output import print_json
    from edge.cli.terminal import shown_progress

    settings = EngineSettings(
        delegate=options.delegate_library(delegate),
        options=options.delegate_options(delegate_option),
    )
    found = survey(settings, options.pythons(python), shown_progress(quiet=quiet))
    if json:
        entries = [finding.to_json() for finding in found]
        print_json({"schema_version": SCHEMA_VERSION, "accelerators": entries})
    else:
        _print(found)


def _print(found: Sequence["Availability"]) -> None:
    """Print one line for each path that works, and two for each that does not."""
    from edge.cli.output import print_beside

    width = max(len(finding.accelerator.name) for finding in found)
    for finding in found:
        path = finding.accelerator
        kind = f"{path.name:<{width}}  {path.unit.upper()}  {', '.join(path.formats):<12}"
        if finding.device is not None:
            text = f"here: {finding.device.name} ({finding.device.label})"
            print_beside(kind, text, len(kind) + 2)
    say("")
    for finding in found:
        path = finding.accelerator
        if finding.device is None:
            print_beside("", f"{path.name}: not available: {finding.reason}", 0)
            print_beside("", finding.hint or f"To get it: {path.get}.", 2)
