"""A diagnosis for people, on standard output."""

from collections.abc import Mapping, Sequence

from edge.cli.output import fits_terminal, print_folded, print_table
from edge.diagnosis.result import (
    Attempt,
    BlockError,
    Diagnosis,
    FileLayers,
    LayerError,
    RowDifference,
    traits,
)
from edge.runtime.streams import say
from edge.wording import counted

WORST = 10  # layers shown unless all are asked for


def print_diagnosis(result: Diagnosis, *, all_layers: bool) -> None:
    """Print everything but the plot."""
    _print_parities(result)
    _print_layers(result, all_layers=all_layers)
    _print_blocks(result, all_layers=all_layers)
    _print_partitions(result)
    for finding in result.findings:
        print_folded(f"{finding.culprit}: {finding.variant}: {finding.evidence}.")
    for attempt in result.attempts:
        print_folded(_attempt(attempt))
    for note in result.notes:
        print_folded(f"Note: {note}.")
    print_folded(result.conclusion)


def _print_parities(result: Diagnosis) -> None:
    """Print a matrix: agreement above the diagonal, greatest difference below; else pairs."""
    rows = [row for row in result.rows if not row.problem]
    numbers = {row.name: str(position) for position, row in enumerate(rows, 1)}
    pairs = {frozenset((pair.first, pair.second)): pair for pair in result.pairs}
    lines = []
    for position, row in enumerate(rows):
        cells = []
        for column, other in enumerate(rows):
            pair = pairs.get(frozenset((row.name, other.name)))
            cells.append("" if pair is None else _cell(pair, above=column > position))
        lines.append((f"{numbers[row.name]} {row.name}", *cells))
    title = f"{result.name}: parity over {counted(result.images, 'image')}"
    columns = ("row", *numbers.values())
    if fits_terminal(columns, lines):
        print_table(title, columns, lines)
        say("Above the diagonal: % of the images with the same best class.")
        say("Below it: greatest difference of a probability.")
    else:
        _print_pairs(title, result.pairs)
    variants = {row.name: row.variant for row in rows}
    for pair in result.pairs:
        if pair.max_steps is not None and variants[pair.first] == variants[pair.second]:
            say(f"{pair.first}, {pair.second}: at most {pair.max_steps:.0f} steps of the output.")
    for row in result.rows:
        if row.problem:
            print_folded(f"{row.name}: not available: {row.problem}.")
        elif row.failure:
            print_folded(f"{row.name}: answers {row.failure}.")
        elif row.note:
            print_folded(f"{row.name}: {row.note}.")


def _print_pairs(title: str, pairs: Sequence[RowDifference]) -> None:
    """Print each pair of rows with both quantities, where the matrix has no room."""
    print_table(
        title,
        ("pair", "agree", "differ"),
        [
            (
                f"{pair.first}, {pair.second}",
                f"{_cell(pair, above=True)} %",
                _cell(pair, above=False),
            )
            for pair in pairs
        ],
    )
    print_folded(
        "Agree: images with the same best class. Differ: greatest difference of a probability, "
        "0 to 1."
    )


def _cell(pair: RowDifference, *, above: bool) -> str:
    if above:
        return f"{100 * pair.agreement:.3g}"
    return "NaN" if pair.max_difference is None else f"{pair.max_difference:.3f}"


def _print_layers(result: Diagnosis, *, all_layers: bool) -> None:
    """Print the layers of int8 files, and of those with a fault."""
    accused = {finding.variant for finding in result.findings}
    shown = [
        (file, layer)
        for file in result.files
        if traits(file.precision).is_integer or file.variant in accused
        for layer in file.layers
    ]
    if not shown:
        return
    total = len(shown)
    if not all_layers:
        shown = sorted(shown, key=_badness)[:WORST]
    say()
    print_table(
        f"layers: {'all' if all_layers else 'the worst'} {len(shown)} of {total}, errors in %",
        ("file and layer", "alone", "explained", "times", "accumulated", "SQNR", ""),
        [_layer_row(file, layer) for file, layer in shown],
        least=("SQNR", "accumulated", "explained"),
    )
    print_folded(
        "Alone: the layer's own error, on the float model's values. Explained: by rounding its "
        "weights and output to 8 bits. Accumulated: with the errors before it."
    )


def _badness(item: tuple[FileLayers, LayerError]) -> tuple[bool, float]:
    """Return a key that sorts faults first, then by the layer's own error."""
    layer = item[1]
    return not (layer.divergent or layer.failure), -(layer.alone or 0.0)


def _layer_row(file: FileLayers, layer: LayerError) -> Sequence[str]:
    marks = [layer.failure] if layer.failure else []
    if layer.layer == file.start:
        marks.append("starts here")
    elif layer.divergent:
        marks.append("wrong")
    return (
        f"{file.variant} {layer.layer}",
        _bare_percent(layer.alone),
        _bare_percent(layer.explained),
        "-" if layer.excess is None else f"{layer.excess:.1f}",
        _bare_percent(layer.accumulated),
        "-" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f} dB",
        ", ".join(marks),
    )


def _bare_percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"


def _print_blocks(result: Diagnosis, *, all_layers: bool) -> None:
    """Print what the blocks do to the answers, those that cost most first."""
    shown = [(file, block) for file in result.files for block in file.blocks]
    if not shown:
        return
    total = len(shown)
    if not all_layers:
        shown = sorted(shown, key=lambda item: -(item[1].alone or 0.0))[:WORST]
    images = counted(max(file.block_images for file in result.files), "image")
    say()
    print_table(
        f"blocks: {'all' if all_layers else 'the worst'} {len(shown)} of {total}, {images}, "
        "errors in %",
        ("file and block", "alone", "SQNR", "accumulated", "narrow", ""),
        [_block_row(file, block) for file, block in shown],
        least=("SQNR", "accumulated"),
    )
    print_folded(
        "Alone: error of the answers if this block is in integers and all others are in floats. "
        "Accumulated: error of its output in the file, with the blocks before it. Narrow: how many "
        "channels of one of its layers span fewer than 8 of the 255 steps of the tensor."
    )


def _block_row(file: FileLayers, block: BlockError) -> Sequence[str]:
    return (
        f"{file.variant} {block.block}",
        _bare_percent(block.alone),
        "-" if block.sqnr_db is None else f"{block.sqnr_db:.1f} dB",
        _bare_percent(block.accumulated),
        f"{block.narrow}/{block.channels}" if block.narrow else "",
        "starts here" if file.start in block.layers else "",
    )


def _print_partitions(result: Diagnosis) -> None:
    """Print what XNNPACK leaves of each file, and what divides it."""
    for found in result.partitions:
        if not found.left:
            continue
        parts = counted(found.partitions, "part")
        print_folded(
            f"{found.variant}: XNNPACK leaves {found.operators - found.delegated} of "
            f"{found.operators} operators; the others are in {parts}"
            + (f", split by {_kinds(found.splitting)}." if found.splitting else ".")
        )
        if found.shares is None:
            say("What the others cost is not measured: LiteRT does not profile this file.")
            continue
        said = ", ".join(f"{kind} {100 * share:.2g} %" for kind, share in found.shares.items())
        print_folded(f"Their share of the time: {said}.")
        say("It is measured; what passing values between the parts costs is not.")


def _kinds(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in counts.items())


def _attempt(tried: Attempt) -> str:
    """What was tried, and what came of it, in sentences."""
    floats = f", {tried.float_ratio:.2g} times that of the float file" if tried.float_ratio else ""
    said = (
        f"Tried on the same images: {tried.description} agrees on {100 * tried.agreement:.3g} % "
        f"({tried.instead_of}: {100 * tried.before:.3g} %), with an error of "
        f"{100 * tried.error:.2g} % of the answers ({100 * tried.error_before:.2g} %), in "
        f"{tried.time_ratio:.2g} times the time{floats}."
    )
    if not tried.holds:
        return f"{said} It does not help enough."
    if not tried.option:
        return f"{said} It helps: export the model again."
    return f"{said} It helps: export with {tried.option}."
