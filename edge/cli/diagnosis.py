"""A diagnosis for people: the matrix, the layers, who is to blame."""

from collections.abc import Sequence

from edge.cli.output import fits_terminal, print_folded, print_table
from edge.diagnosis.precision import traits
from edge.diagnosis.result import Diagnosis, FileLayers, LayerError, Pair
from edge.runtime.streams import say
from edge.wording import counted

WORST = 10  # layers shown unless all are asked for


def print_diagnosis(result: Diagnosis, *, all_layers: bool) -> None:
    """Everything but the plot, on standard output."""
    _print_matrix(result)
    _print_layers(result, all_layers=all_layers)
    for finding in result.findings:
        print_folded(f"{finding.culprit}: {finding.variant}: {finding.evidence}.")
    for note in result.notes:
        print_folded(f"Note: {note}.")
    print_folded(result.conclusion)


def _print_matrix(result: Diagnosis) -> None:
    """Agreement above the diagonal, greatest difference below it; a list of pairs if too wide."""
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


def _print_pairs(title: str, pairs: Sequence[Pair]) -> None:
    """The matrix where there is no room for it: each pair of rows with both quantities."""
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


def _cell(pair: Pair, *, above: bool) -> str:
    if above:
        return f"{100 * pair.agreement:.3g}"
    return "NaN" if pair.max_difference is None else f"{pair.max_difference:.3f}"


def _print_layers(result: Diagnosis, *, all_layers: bool) -> None:
    """Int8 files, and those with a fault."""
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
    say("Alone: the layer's own error, on the inputs that the file gave it. Explained: by rounding")
    say("its weights and output to 8 bits. Accumulated: with the errors before it.")


def _badness(item: tuple[FileLayers, LayerError]) -> tuple[bool, float]:
    """Sorts faults first, then by the own error."""
    layer = item[1]
    return not (layer.divergent or layer.failure), -(layer.alone or 0.0)


def _layer_row(file: FileLayers, layer: LayerError) -> Sequence[str]:
    marks = [layer.failure] if layer.failure else []
    if layer.layer == file.first_divergent:
        marks.append("first wrong")
    elif layer.divergent:
        marks.append("wrong")
    return (
        f"{file.variant} {layer.layer}",
        _percent(layer.alone),
        _percent(layer.explained),
        "-" if layer.excess is None else f"{layer.excess:.1f}",
        _percent(layer.accumulated),
        "-" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f} dB",
        ", ".join(marks),
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"
