"""``edge inspect``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli import options as shared
from edge.cli.help import example
from edge.cli.measure.options import InputShapes
from edge.errors import UsageError
from edge.runtime.streams import say

if TYPE_CHECKING:
    from edge.inspection.report import ModelReport
    from edge.runtime.spec import TensorSpec


@example("edge inspect bundle --variant tflite-int8")
def inspect(
    path: Annotated[
        Path, typer.Argument(help="A bundle, or a .tflite or .onnx file.", show_default=False)
    ],
    variant: Annotated[
        str | None,
        typer.Option(
            help="Name of the variant of a bundle to show.  \\[default: all]", show_default=False
        ),
    ] = None,
    input_shape: InputShapes = None,
    json: shared.Json = False,
) -> None:
    """Show inputs, outputs, quantization, operators, parameters, mult-adds and size.

    Of a model file, it also shows what edge takes it for, from which evidence, and which options
    settle what the file leaves open.
    """
    from benchmarks.input_shape import parse_shapes
    from edge.cli.identified import known, known_json, print_known
    from edge.cli.output import print_folded, print_json
    from edge.identification.model import StatedModel
    from edge.inspection.model import inspect_model
    from edge.runtime.bundle import Bundle
    from edge.runtime.commands.info import input_lines

    shapes = parse_shapes(input_shape or ())
    if path.is_dir():
        bundle = Bundle.open(path)
        bundle.verify()
        names = [variant] if variant else [item.name for item in bundle.manifest.variants]
        reports = {name: inspect_model(bundle.model(name)[1], shapes) for name in names}
        fed = input_lines(bundle.manifest.provenance)
    elif variant is not None:
        raise UsageError(f"--variant {variant} is a part of a bundle, and {path} is a file")
    else:
        reports, fed = {path.name: inspect_model(path, shapes)}, []
    bundle_given = path.is_dir()  # its manifest says what its files are
    if json:
        more = {} if bundle_given else {"identified": known_json(known(path, StatedModel()))}
        print_json({name: report.to_json() | more for name, report in reports.items()})
        return
    for line in fed:
        say(line)
    for name, report in reports.items():
        for line in _lines(name, report):
            print_folded(line)
    if not bundle_given:
        say("What edge takes it for:")
        sys.stdout.flush()  # before an interpreter opens the file: a damaged one may end it
        print_known(known(path, StatedModel()))


def _lines(name: str, report: "ModelReport") -> list[str]:
    from edge.runtime.printable import one_line
    from edge.wording import size

    operators = ", ".join(f"{one_line(name)} {count}" for name, count in report.operators)
    total = sum(count for _, count in report.operators)
    part = report.quantized_share
    share = "" if part is None else f" ({100 * part:.1f} % of the mult-adds)"
    lines = [
        f"{name}: {report.format}, {size(report.size_bytes)}, sha256 {report.sha256[:16]}",
        *(f"  input   {_tensor(spec)}" for spec in report.inputs),
        *(f"  output  {_tensor(spec)}" for spec in report.outputs),
        f"  {report.parameters:,} parameters, {_mult_adds(report)}",
        f"  {total} operators, {report.quantized_operators} of them quantized{share}: {operators}",
    ]
    lines += [f"  obstacle: {one_line(item)}" for item in report.obstacles]
    return lines + [f"  note: {one_line(note)}" for note in report.notes]


def _mult_adds(report: "ModelReport") -> str:
    """Return the count, with the input's shape where the file alone does not tell it."""
    from benchmarks.input_shape import shown

    if report.mult_adds is None and any(0 in spec.shape for spec in report.inputs):
        return "mult-adds are not counted"
    if report.mult_adds is None:
        return "mult-adds depend on the open shape of the input: name it with --input-shape"
    text = f"{report.mult_adds / 1e6:,.1f} M mult-adds"
    stated = tuple(spec.shape for spec in report.inputs)
    if stated == report.counted_shapes:
        return text
    return f"{text} for an input of {' and '.join(map(shown, report.counted_shapes))}"


def _tensor(spec: "TensorSpec") -> str:
    from edge.runtime.printable import one_line

    shape = " x ".join("?" if extent < 0 else str(extent) for extent in spec.shape)
    text = f"{one_line(spec.name)}: {spec.dtype} [{shape}]"
    if spec.quantization is not None:
        scale, point = spec.quantization.scales[0], spec.quantization.zero_points[0]
        text += f", real = {scale:g} * (q - {point})"
    return text
