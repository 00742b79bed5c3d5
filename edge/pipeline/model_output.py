"""The answers of the network that ``edge export`` is given: made probabilities, named, decided."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache, content_key
from edge.dataset.folder import list_images
from edge.dataset.pictures import Picture, pictures_root
from edge.errors import ImageError, ModelLoadError, UsageError
from edge.evaluation.confidence import mcnemar_loss
from edge.evaluation.output import OPTION, like_fitted_to_0_and_1, output_of
from edge.pipeline.options import ExportOptions
from edge.runtime.contract import Preprocessing
from edge.runtime.head import sigmoid
from edge.runtime.output import HALF, OutputActivation, OutputKind, OutputSpec
from edge.runtime.preprocess import load
from edge.runtime.supervisor import keras_call
from edge.training.model_shape import columns_of, keras_end, with_probabilities
from edge.training.models import keras_scores, load_keras
from edge.versions import versions

if TYPE_CHECKING:
    from edge.pipeline.source import ExportedNetwork

KERAS_FILE: Final = "model.keras"
LOOKED_AT: Final = 16  # pictures whose answers are looked at
ALONE: Final = 4  # how many of these are asked about alone as well
DEPENDS: Final = 0.01  # share of the largest value: answers so far apart are not the same
SHOWN: Final = 4  # values of an answer in an error
SURE: Final = 0.05  # p-value below which another threshold than 0.5 is taken
CLEARLY: Final = 0.01  # p-value below which the two classes count as swapped, if
SWAPPED: Final = 0.8  # so many pairs are the wrong way round: an untrained network leans as well


def answering(
    model: Any,
    model_id: str,
    options: ExportOptions,
    pictures: Sequence[Picture],
    contract: Preprocessing,
) -> tuple[OutputSpec, Path | None, str]:
    """Return what the values of a Keras model are, and the model that ends in probabilities.

    Args:
        model: One input and one output; takes RGB 0..255.
        model_id: The content hash of the model.
        options: The options of the export.
        pictures: Pictures that are not scored later; where they are labelled, they settle a doubt.
        contract: How it sees pictures.

    Returns:
        The output of the new model; its file, None where the model needs no change; and its
        content hash.

    Raises:
        UsageError: The values cannot be what the graph or the user says, or a threshold is given
            where there is none.
        ModelLoadError: The model answers with no row of values, or with NaN.
    """
    columns = columns_of(model)
    if columns is None:
        raise ModelLoadError(
            f"the model's output is of shape {tuple(model.outputs[0].shape)}",
            hint="A classifier answers with (batch, classes).",
        )
    end = keras_end(model)
    values = _values(model, options.images, contract)
    check_numbers(values)
    asked = options.output_activation
    doubtful = asked is OutputActivation.AUTO and like_fitted_to_0_and_1(end, values)
    chosen, why = _by_labels(model, pictures, contract) if doubtful else (asked, "")
    output = output_of(end, columns, values, chosen, f"{end.named}{why}" if doubtful else "")
    spec = _decided(output, columns, options)
    whole = with_probabilities(model, output)
    if whole is model:
        return spec, None, model_id
    parts = {"model": model_id, "output": output.to_json(), "versions": versions()}
    key, cache = content_key("probabilities", parts), StageCache(options.output.cache)
    if cache.find(key) is None:
        with cache.store(key) as folder:
            whole.save(folder / KERAS_FILE)
    return spec, cache.entry(key) / KERAS_FILE, key


def _values(model: Any, directory: Path, contract: Preprocessing) -> NDArray[np.float32] | None:
    """Return what the model answers to some pictures of a folder: (pictures, values)."""
    paths = list_images(pictures_root(directory))
    pixels = []
    for path in paths[:: max(1, len(paths) // LOOKED_AT)][:LOOKED_AT]:
        try:
            pixels.append(load(path, contract))
        except ImageError:
            continue  # said where the pictures are read for good
    if not pixels:
        return None
    batch = np.stack(pixels).astype(np.float32)
    if model.inputs[0].shape[0] == 1:
        return np.concatenate([_answers(model, batch[n : n + 1]) for n in range(len(batch))])
    together = _answers(model, batch)
    for number in range(min(ALONE, len(batch))):
        check_alone(_answers(model, batch[number : number + 1])[0], together, number)
    return together


def check_numbers(values: NDArray[np.float32] | None) -> None:
    """Refuse answers (pictures, values) that are no numbers: no activation makes them any.

    Raises:
        ModelLoadError: There are such answers.
    """
    if values is None or np.isfinite(values).all():
        return
    wrong = int((~np.isfinite(values)).any(axis=1).sum())
    raise ModelLoadError(
        f"the network answers {wrong} of {len(values)} pictures with NaN or infinite values",
        hint="Its weights, or a layer such as a division by 0, make no numbers of these pictures. "
        "Does it want another --input-range? Else train it again, or take an earlier checkpoint.",
    )


def _by_labels(
    model: Any, pictures: Sequence[Picture], contract: Preprocessing
) -> tuple[OutputActivation, str]:
    labelled = [item for item in pictures if item.label is not None]
    values = np.empty(0, np.float32)
    if labelled:
        shape = (-1, *model.inputs[0].shape[1:])
        pixels = np.stack([load(item.path, contract) for item in labelled]).reshape(shape)
        with keras_call():
            values = np.asarray(model.predict(pixels.astype(np.float32), verbose=0)).reshape(-1)
    return probability_by_labels(values, np.array([item.label == 1 for item in labelled], bool))


def probability_by_labels(
    values: NDArray[np.floating[Any]], second: NDArray[np.bool_]
) -> tuple[OutputActivation, str]:
    """Return what a value is that looks like one fitted to 0 and 1: a probability or a logit.

    They say so where the value itself lies nearer to 0 and 1, the truth, than its sigmoid does.

    Args:
        values: The values of labelled pictures, (pictures,).
        second: Whether each is of the second class.

    Raises:
        UsageError: They do not tell.
    """
    seen = "no labelled pictures of both classes tell which"
    if second.any() and not second.all():
        from scipy.stats import mannwhitneyu, wilcoxon

        higher = values[second].mean() >= values[~second].mean()  # it may be of the first class
        truth = second if higher else ~second
        wrong = np.abs(truth - values.clip(0, 1)), np.abs(truth - sigmoid(values))
        seen = (
            f"on {len(values)} labelled pictures that are not scored it is off by "
            f"{wrong[0].mean():.2g} as a probability, and by {wrong[1].mean():.2g} as a logit"
        )
        apart = mannwhitneyu(values[truth], values[~truth], alternative="greater").pvalue < SURE
        if apart and wilcoxon(wrong[0] - wrong[1], alternative="less").pvalue < SURE:
            return OutputActivation.SIGMOID, f"; {seen}"
    raise UsageError(
        "the model answers with one value, which nothing follows, and its values lie within 0..1 "
        "or near it: it may be a probability, as of a model that was "
        f"trained to answer 0 and 1, or a logit; {seen}",
        hint=f"Say which: {OPTION} sigmoid for a probability, {OPTION} logits for a logit.",
    )


def _answers(model: Any, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    with keras_call():
        return np.asarray(model(batch, training=False), np.float32).reshape(len(batch), -1)


def check_alone(alone: NDArray[np.float32], together: NDArray[np.float32], number: int) -> None:
    """Check that the answer to a picture does not depend on the pictures beside it.

    Args:
        alone: (values,) of the picture in a batch of its own.
        together: (pictures, values) of a batch.
        number: Which row of the batch the picture is.

    Raises:
        UsageError: It does, as that of a softmax along the batch does.
    """
    apart = float(np.abs(alone - together[number]).max())
    if not apart > DEPENDS * max(1.0, float(np.abs(together).max())):
        return
    raise UsageError(
        f"what the model answers to a picture depends on the pictures beside it: alone it answers "
        f"{_row(alone)}, in a batch of {len(together)} {_row(together[number])}; a device asks it "
        "of one picture at a time",
        hint="A layer works along the batch, such as a softmax with axis=0: mend it, and train "
        "the model again.",
    )


def _row(values: NDArray[np.float32]) -> str:
    more = ", ..." if len(values) > SHOWN else ""
    return f"{', '.join(f'{value:.3g}' for value in values[:SHOWN])}{more}"


def _decided(output: OutputSpec, columns: int, options: ExportOptions) -> OutputSpec:
    """Return the output of the model that ends in probabilities, with the threshold asked for."""
    two = columns in (1, 2) and not output.multi_label
    if options.threshold is not None and not (two or output.multi_label):
        raise UsageError(
            f"--threshold is for two classes, or for labels that do not exclude one another; the "
            f"model has {columns} classes ({output.evidence})",
            hint="Leave it out: the class with the highest probability is the answer.",
        )
    if options.positive_class is not None and columns != 1:
        raise UsageError(
            f"--positive-class is for a model with one value; this one has {columns}",
            hint="Name the classes in the order of the values with --labels.",
        )
    if options.truth is not None and not output.multi_label:
        raise UsageError(
            f"--truth is for labels that do not exclude one another; this model answers with one "
            f"class ({output.evidence})",
            hint="If its labels do not exclude one another, say so with --output-activation "
            "sigmoid or multi-label-logits; else put each picture into the folder of its class.",
        )
    thresholds = output.thresholds
    if options.threshold is not None:
        count = columns if output.multi_label else 1
        thresholds = () if count == 1 and options.threshold == HALF else (options.threshold,)
        thresholds *= count
    return OutputSpec(kind=OutputKind(output.kind), thresholds=thresholds, evidence=output.evidence)


def two_labels(options: ExportOptions, named: Sequence[str] | None) -> tuple[str, str]:
    """Return the two classes of a model with one value, which is the second one's probability.

    Keras numbers class folders by the alphabet, so that its sigmoid is that of the later name.

    Args:
        options: The options of the export.
        named: The lines of ``--labels``; None without.

    Raises:
        UsageError: They are not two, or the positive class is none of them.
    """
    if named is not None and len(named) == 1:
        named = (f"not {named[0]}", named[0])
    if named is None:
        root = pictures_root(options.images)
        folders = sorted(
            {
                path.relative_to(root).parts[0]
                for path in list_images(root)
                if len(path.relative_to(root).parts) > 1
            }
        )
        named = folders if len(folders) == 2 else ("0", "1")
    if len(named) != 2:
        raise UsageError(
            f"{options.labels} has {len(named)} labels; the model answers with one value, which "
            "tells two classes apart",
            hint="Name two: the value is the probability of the second one.",
        )
    first, second = named
    positive = options.positive_class
    if positive not in (None, first, second):
        raise UsageError(
            f"--positive-class is {positive!r}; the classes are {first!r} and {second!r}",
            hint="Name one of them, or both with --labels.",
        )
    return (second, first) if positive == first else (first, second)


def answer_rule(
    source: "ExportedNetwork",
    options: ExportOptions,
    pictures: Sequence[Picture],
    contract: Preprocessing,
) -> OutputSpec:
    """Return the output of the exported model; unscored pictures choose its threshold.

    Raises:
        UsageError: See ``with_threshold``.
    """
    if not source.single_value:
        return source.output
    labelled = [item for item in pictures if item.label is not None]
    scores = np.empty((0, 2), np.float32)
    if labelled:
        scores = keras_scores(
            source.model_id,
            lambda: load_keras(source.path),
            labelled,
            contract,
            cache=StageCache(options.output.cache),
            step=lambda count: None,  # noqa: ARG005
        )
    return with_threshold(
        source.output,
        source.labels,
        scores,
        labelled,
        told=options.positive_class is not None,
        fixed=options.threshold is not None,
    )


def with_threshold(
    output: OutputSpec,
    labels: Sequence[str],
    scores: NDArray[np.float32],
    pictures: Sequence[Picture],
    *,
    told: bool,
    fixed: bool,
) -> OutputSpec:
    """Return the output of two classes with the threshold that labelled pictures call for.

    Another one than 0.5 is taken if it answers more of them rightly by more than chance would.

    Args:
        output: The output so far.
        labels: The two classes.
        scores: (pictures, 2) probabilities.
        pictures: Labelled ones, none of those that are scored later.
        told: Whether the user said which class the model's value is the probability of.
        fixed: Whether the user gave the threshold.

    Raises:
        UsageError: The pictures say clearly that the two classes are swapped, and the user does
            not say which is which.
    """
    said = f"{output.evidence}; the value is the probability of {labels[1]!r}, the second class"
    second = np.array([item.label == 1 for item in pictures], bool)
    if second.all() or not second.any():
        ending = f"; the threshold is {output.threshold:g}"
        ending += "" if fixed else ": there are no labelled pictures of both classes to choose by"
        return replace(output, evidence=said + ending)
    values = scores[:, 1].astype(np.float64)
    if not told:
        _check_order(values, second, labels)
    if fixed:
        return replace(output, evidence=f"{said}; the threshold is {output.threshold:g}, as asked")
    threshold, right, at_half = _best_threshold(values, second)
    of = f"{len(pictures)} labelled pictures that are not scored"
    if threshold == HALF:
        text = f"the threshold is 0.5, which is right on {at_half} of {of}"
        return replace(output, evidence=f"{said}; {text}")
    text = f"the threshold is {threshold:g}, which is right on {right} of {of}; 0.5 on {at_half}"
    return replace(output, thresholds=(threshold,), evidence=f"{said}; {text}")


def _best_threshold(
    values: NDArray[np.float64], second: NDArray[np.bool_]
) -> tuple[float, int, int]:
    """Return the threshold, how many pictures it answers rightly, and how many 0.5 does."""
    at_half = (values >= HALF) == second
    steps = np.unique(values)
    middles = [float(np.clip(np.round(m, 4), 0.0001, 0.9999)) for m in (steps[1:] + steps[:-1]) / 2]
    tried = [(int(((values >= m) == second).sum()), -abs(m - HALF), m) for m in middles]
    if not tried:
        return HALF, int(at_half.sum()), int(at_half.sum())
    right, _, best = max(tried)
    right_at_best = (values >= best) == second
    gained, lost = int((right_at_best & ~at_half).sum()), int((at_half & ~right_at_best).sum())
    if mcnemar_loss(gained, lost) >= SURE:
        return HALF, int(at_half.sum()), int(at_half.sum())
    return best, right, int(at_half.sum())


def _check_order(
    values: NDArray[np.float64], second: NDArray[np.bool_], labels: Sequence[str]
) -> None:
    from scipy.stats import mannwhitneyu

    higher, lower = values[second], values[~second]
    test = mannwhitneyu(higher, lower, alternative="less")
    share = 1 - float(test.statistic) / (len(higher) * len(lower))
    if test.pvalue >= CLEARLY or share < SWAPPED:
        return
    raise UsageError(
        f"the model's value is taken for the probability of {labels[1]!r}, but the pictures of "
        f"{labels[0]!r} get the higher one in {100 * share:.0f} % of all pairs ({len(lower)} and "
        f"{len(higher)} labelled pictures, p = {test.pvalue:.1g}): the two classes seem swapped",
        hint=f"Say which one it is of: --positive-class {labels[0]!r} swaps them, "
        f"--positive-class {labels[1]!r} keeps them.",
    )
