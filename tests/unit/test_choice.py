"""Which file of a bundle runs by default, and what is said of it and of the others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.turns import PREFERRED
from converters.base import TARGETS
from edge.cli.make import view
from edge.cli.make.view import marked, print_faults
from edge.errors import NegativeVerdict, StrictRefusal, UsageError
from edge.evaluation.chance import Level
from edge.pipeline.choice import (
    MAX_DROP_POINTS,
    check_strict,
    choose_default,
    default_reason,
    is_as_accurate,
    loss_notes,
    paced,
    slow_notes,
    unsaid,
)
from edge.pipeline.report import FailedVariant
from edge.pipeline.tasks.report import TaskVariant
from edge.pipeline.tasks.verdict import TaskReference
from edge.pipeline.tasks.verdict import accuracy_shortcoming as task_shortcoming
from edge.pipeline.tasks.verdict import doubts as task_doubts
from tests.unit.measured_turns import as_fast, turns_of


@dataclass(frozen=True)
class Held:
    """What the choice looks at; sizes are those of the precisions unless they are given."""

    name: str
    drop_points: float | None = 0.0
    agreement: float | None = 1.0
    agreement_level: Level | None = Level.GOOD
    is_faithful: bool = True
    tells: bool = True
    size: int | None = None

    @property
    def size_bytes(self) -> int:
        usual = {"fp32": 400, "fp16": 200, "dynamic": 101, "int8": 100, "mixed": 120, "w8a16": 105}
        return self.size or usual[self.name.split("-")[1]]


SIX = ("tflite-fp32", "tflite-fp16", "tflite-dynamic", "tflite-int8", "onnx-fp32", "onnx-int8")
# Half of the passes say that the second file is faster, half that it is slower.
UNSURE = [0.8, 1.3] * 10


def lacks(item: Held) -> str:
    return "" if is_as_accurate(item, None) else "lost too much"


def files(*names: str, **changes: Held) -> list[Held]:
    changed = {item.name: item for item in changes.values()}
    return [changed.get(name, Held(name)) for name in names]


def reason(
    variants: Sequence[Held], seconds: dict[str, float | Sequence[float]], **more: object
) -> str:
    turns = turns_of(seconds)
    default = choose_default(variants, turns)
    failed: Sequence[FailedVariant] = more.get("failed", ())  # type: ignore[assignment]
    return default_reason(variants, failed, default, turns, lacks)


@pytest.mark.parametrize(
    ("seconds", "lossy", "chosen"),
    [
        pytest.param({"tflite-int8": 0.5, "tflite-fp32": 1}, (), "tflite-int8", id="int8 pays"),
        pytest.param({"tflite-int8": 1.57, "tflite-fp32": 1}, (), "tflite-fp32", id="fp32 faster"),
        pytest.param(
            {"tflite-int8": 1.57, "tflite-dynamic": 0.7, "tflite-fp32": 1},
            (),
            "tflite-dynamic",
            id="dynamic counts",
        ),
        pytest.param(
            {"tflite-int8": UNSURE, "tflite-fp32": 1}, (), "tflite-int8", id="not told apart"
        ),
        pytest.param(
            {"tflite-int8": 1.005, "tflite-fp32": 1}, (), "tflite-int8", id="less than counts"
        ),
        pytest.param(
            {"tflite-int8": 0.5, "tflite-fp16": 0.7, "tflite-fp32": 1},
            ("tflite-int8",),
            "tflite-fp16",
            id="int8 lost too much",
        ),
        pytest.param({"onnx-int8": 0.4, "tflite-int8": 0.5}, (), "onnx-int8", id="both formats"),
        pytest.param({"onnx-int8": UNSURE, "tflite-int8": 1}, (), "tflite-int8", id="usual first"),
        pytest.param({"onnx-fp32": 1, "onnx-int8": 1.3}, (), "onnx-fp32", id="only ONNX"),
        pytest.param({"tflite-fp16": 1, "tflite-fp32": 1}, (), "tflite-fp16", id="smaller"),
        pytest.param({"tflite-int8": 3.0}, ("tflite-int8",), "tflite-int8", id="one file"),
    ],
)
def test_the_fastest_file_that_is_as_accurate_is_the_default(
    seconds: dict[str, float | Sequence[float]], lossy: tuple[str, ...], chosen: str
) -> None:
    variants = [Held(name, drop_points=5.0 if name in lossy else 0.0) for name in seconds]
    assert choose_default(variants, turns_of(seconds)) == chosen
    backwards = dict(reversed(seconds.items()))  # the order of the files decides nothing
    assert choose_default(variants[::-1], turns_of(backwards)) == chosen


def test_noise_does_not_flip_the_default_between_files_that_are_alike() -> None:
    variants = files("tflite-int8", "onnx-int8")
    for drift in (0.97, 0.995, 1.0, 1.005, 1.03):
        seconds = [drift * value for value in UNSURE]
        turns = turns_of({"tflite-int8": 1.0, "onnx-int8": seconds})
        assert choose_default(variants, turns) == "tflite-int8"


@pytest.mark.parametrize(
    "worse",
    [
        Held("tflite-int8", drop_points=1.1),
        Held("tflite-int8", drop_points=None, agreement=0.96),
        Held("tflite-int8", agreement_level=Level.LOW),
        Held("tflite-int8", agreement_level=Level.CHANCE, is_faithful=False),
    ],
)
def test_a_faster_file_that_is_less_accurate_is_not_the_default(worse: Held) -> None:
    turns = turns_of({"tflite-int8": 0.1, "tflite-fp32": 1.0})
    assert choose_default([worse, Held("tflite-fp32")], turns) == "tflite-fp32"


def test_a_budget_takes_the_place_of_the_usual_point() -> None:
    turns = turns_of({"tflite-int8": 0.1, "tflite-fp32": 1.0})
    variants = files(*turns.names, int8=Held("tflite-int8", drop_points=MAX_DROP_POINTS + 1))
    assert choose_default(variants, turns) == "tflite-fp32"
    assert choose_default(variants, turns, 2.0) == "tflite-int8"


def test_where_every_file_lost_too_much_the_most_precise_one_runs() -> None:
    variants = [Held(name, drop_points=9.0) for name in SIX]
    turns = as_fast(*SIX)
    assert choose_default(variants, turns) == "tflite-fp32"
    said = default_reason(variants, [], "tflite-fp32", turns, lacks)
    assert "no file is as accurate" in said


def test_a_file_that_was_named_is_the_default_if_it_was_written() -> None:
    turns = turns_of({"tflite-int8": 0.5, "tflite-fp32": 1.0})
    variants = files(*turns.names)
    assert choose_default(variants, turns, named="tflite-fp32") == "tflite-fp32"
    assert choose_default(variants, turns, named="onnx-fp32") == "tflite-int8"
    said = default_reason(variants, [], "tflite-fp32", turns, lacks, named="tflite-fp32")
    assert said.startswith("tflite-fp32, as was stated [--default]: tflite-int8 takes 0.50 times")


def test_every_target_has_its_place_among_equals() -> None:
    assert set(PREFERRED) == set(TARGETS)


def test_the_reason_names_the_times_of_what_one_might_want_instead() -> None:
    seconds: dict[str, float | Sequence[float]] = {
        "tflite-int8": [1.5, 1.57, 1.6, 1.57] * 5,
        "tflite-dynamic": 0.5,
        "tflite-fp32": 1.0,
        "onnx-fp32": 1.4,
    }
    variants = files(*seconds, lossy=Held("tflite-dynamic", agreement_level=Level.LOW))
    assert reason(variants, seconds) == (
        "tflite-fp32, the fastest here of the files that are as accurate: tflite-int8 takes 1.57 "
        "times (95 %: 1.57 to 1.57) as long and tflite-dynamic lost too much."
    )


def test_the_reason_of_the_smallest_and_fastest_file_names_the_next() -> None:
    seconds: dict[str, float | Sequence[float]] = {
        "tflite-fp32": 2.0,
        "tflite-int8": 1.0,
        "onnx-int8": 1.25,
    }
    assert "as accurate: onnx-int8 takes 1.25 times" in reason(files(*seconds), seconds)


def test_the_reason_of_a_tie_says_that_it_is_one() -> None:
    seconds: dict[str, float | Sequence[float]] = {"tflite-fp32": 1.0, "tflite-int8": UNSURE}
    said = reason(files(*seconds), seconds)
    assert said.startswith("tflite-int8, ")
    assert "as far as that can be told" in said or "the fastest here" in said
    same: dict[str, float | Sequence[float]] = {"tflite-fp32": 1.0, "tflite-fp16": 1.0}
    assert "tflite-fp32 is as fast" in reason(files(*same), same)


def test_one_file_has_no_reason_but_for_what_could_not_be_made() -> None:
    one: dict[str, float | Sequence[float]] = {"tflite-fp32": 1.0}
    assert reason(files(*one), one) == ""
    lost = FailedVariant(name="tflite-int8", reason="no room", hint="")
    assert reason(files(*one), one, failed=[lost]) == (
        "tflite-fp32, the only one: tflite-int8 could not be made."
    )


def test_integer_files_that_are_slower_or_lost_too_much_are_noted() -> None:
    turns = turns_of({"tflite-fp32": 1.0, "tflite-int8": 1.57, "onnx-fp32": 3.0, "onnx-int8": 2.0})
    variants = files(*turns.names, lossy=Held("onnx-int8", drop_points=26.0))
    (slow,) = slow_notes(turns)
    assert slow == "tflite-int8 takes 1.57 times (95 %: 1.57 to 1.57) as long as tflite-fp32 here"
    (loss,) = loss_notes(variants, "tflite-fp32", lacks)
    assert loss.startswith("onnx-int8 lost too much; it is not the default; --quantize auto")
    (own,) = loss_notes(variants, "onnx-int8", lacks)
    assert "and it is the default" in own
    dynamic = [Held("tflite-dynamic", drop_points=1.5)]  # which nobody needs to act on
    assert loss_notes(dynamic, "tflite-int8", lacks) == []
    assert len(loss_notes(dynamic, "tflite-dynamic", lacks)) == 1
    # Without a float file of its format there is nothing to be slower than.
    assert slow_notes(turns_of({"tflite-int8": 9.0, "onnx-fp32": 1.0})) == []


def test_other_faults_have_notes_of_their_own() -> None:
    low = Held("tflite-int8", agreement_level=Level.LOW)
    turned = Held("onnx-int8", agreement_level=Level.CHANCE, is_faithful=False)
    assert loss_notes([low, turned], "tflite-fp32", lacks) == []


def test_a_report_has_the_time_against_the_default_and_the_faults_of_integer_files() -> None:
    turns = turns_of({"onnx-fp32": 1.0, "onnx-int8": 1.25})
    variants = [task_file("onnx-fp32", agreement=0.8), task_file("onnx-int8", agreement=0.8)]
    floats, whole = paced(
        variants, turns, "onnx-fp32", lambda item: task_shortcoming(item, None, "mAP")
    )
    assert (floats.latency_ratio, floats.latency_ratio_interval) == (1.0, (1.0, 1.0))
    assert (whole.latency_ratio, whole.latency_ratio_interval) == (1.25, (1.25, 1.25))
    assert floats.faults == ()  # which is said elsewhere: it is no integer file
    accuracy, speed = whole.faults
    assert accuracy.startswith("agrees with the float file to 80.0 %")
    assert speed.startswith("takes 1.25 times (95 %: 1.25 to 1.25) as long as onnx-fp32")


def test_images_that_all_get_one_class_do_not_prove_an_integer_file() -> None:
    untold = [Held(name, tells=False) for name in ("tflite-fp32", "tflite-fp16", "tflite-int8")]
    turns = turns_of({"tflite-fp32": 1.0, "tflite-fp16": 1.0, "tflite-int8": 0.4})
    assert choose_default(untold, turns) == "tflite-fp16"
    assert choose_default([replace(item, tells=True) for item in untold], turns) == "tflite-int8"
    assert choose_default(untold, turns, named="tflite-int8") == "tflite-int8"


def test_strict_refuses_integer_files_with_a_fault() -> None:
    good = task_file("tflite-int8")
    bad = replace(good, faults=("takes long", "lost much"))
    check_strict(SimpleNamespace(variants=[bad]), strict=False)
    check_strict(SimpleNamespace(variants=[good]), strict=True)
    told = r"--strict.*tflite-int8 takes long; tflite-int8 lost much"
    with pytest.raises(NegativeVerdict, match=told) as caught:
        check_strict(SimpleNamespace(variants=[good, bad]), strict=True)
    assert caught.value.exit_code == 1
    assert caught.value.hint


def test_the_table_marks_the_default_and_the_files_with_a_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = task_file("tflite-int8")
    bad = replace(good, faults=("takes long", "lost much"))
    assert marked(good, "tflite-fp32") == "  tflite-int8"
    assert marked(good, "tflite-int8") == "* tflite-int8"
    assert marked(bad, "tflite-fp32") == "! tflite-int8"
    assert marked(bad, "tflite-int8") == "*!tflite-int8"
    print_faults([good, bad])
    assert capsys.readouterr().out == "! tflite-int8 takes long; it lost much.\n"


def test_a_fault_is_said_once_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """Below the table, with the way out; neither as a note before nor once more as a reason."""
    bad = replace(task_file("onnx-int8"), faults=("lost much", "takes long"))
    good = task_file("onnx-fp32")
    notes = ("onnx-int8 lost much; --quantize auto looks", "onnx-int8 takes long", "few images")
    assert unsaid(notes, [good, bad]) == ["few images"]
    assert unsaid(notes, [good]) == list(notes)
    report = SimpleNamespace(notes=notes, variants=[good, bad])
    view.note_faults(cast(Any, report))  # with --json there is no table
    said = capsys.readouterr()
    assert said.out == "" and said.err.splitlines() == [f"note: {note}" for note in notes[:2]]
    print_faults([good, bad], notes)
    view.print_default("onnx-fp32, the fastest: onnx-int8 lost much.", [good, bad])
    assert capsys.readouterr().out == (
        "! onnx-int8 lost much; --quantize auto looks; it takes long.\n"
        "Default: onnx-fp32, the fastest: onnx-int8 has the fault above (!).\n"
    )


def task_file(
    name: str, *, agreement: float | None = 1.0, drop: float | None = None
) -> TaskVariant:
    return TaskVariant(
        name=name,
        path="",
        size_bytes=Held(name).size_bytes,
        latency_ms=1.0,
        latency={},
        convert_seconds=0.0,
        drop_points=drop,
        agreement=agreement,
        agreement_interval=None,
        found=0 if agreement is None else 9,
    )


def test_the_default_of_another_task_is_chosen_alike() -> None:
    turns = turns_of({"onnx-fp32": 1.0, "onnx-int8": 0.5})
    good = [task_file("onnx-fp32"), task_file("onnx-int8", agreement=0.98)]
    assert choose_default(good, turns) == "onnx-int8"
    slow = turns_of({"onnx-fp32": 1.0, "onnx-int8": 1.5})
    assert choose_default(good, slow) == "onnx-fp32"
    worse = [task_file("onnx-fp32"), task_file("onnx-int8", agreement=0.9)]
    assert choose_default(worse, turns) == "onnx-fp32"
    said = default_reason(
        worse, [], "onnx-fp32", turns, lambda item: task_shortcoming(item, None, "mAP")
    )
    assert "onnx-int8 agrees with the float file to 90.0 %, where at least 97 % are wanted" in said
    empty = [task_file("onnx-int8", agreement=None), task_file("onnx-fp32", agreement=None)]
    assert choose_default(empty, turns) == "onnx-fp32"  # nothing is found that tells


def test_a_file_of_another_task_that_lost_too_much_is_noted() -> None:
    reference = TaskReference(
        of="the float file", images=99, annotated=99, metric="mAP", score=0.6, interval=None
    )
    variants = [task_file("onnx-fp32", drop=0.0), task_file("onnx-int8", agreement=0.7, drop=8.0)]
    (note,) = task_doubts(reference, variants, "onnx-fp32")
    assert note.startswith("onnx-int8 loses 8.0 points of mAP, where 1 may be lost")


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        (None, "loses 1.5 points of mAP, where 1 may be lost"),
        (
            (-0.35, 3.4),
            "loses 1.5 points of mAP (95 % interval -0.3 to 3.4; too few images to tell), where 1 "
            "may be lost",
        ),
        ((1.2, 1.9), "loses 1.5 points of mAP (95 % interval 1.2 to 1.9), where 1 may be lost"),
    ],
)
def test_a_loss_is_said_with_its_interval(interval: tuple[float, float] | None, said: str) -> None:
    """Three of 200 pictures may be chance, and who reads the line has to see that."""
    lossy = replace(task_file("onnx-int8", drop=1.5), drop_interval=interval)
    assert task_shortcoming(lossy, None, "mAP") == said


def test_answers_that_are_others_are_said_with_their_interval() -> None:
    unsure = replace(task_file("onnx-int8", agreement=0.95), agreement_interval=(0.9, 0.98))
    assert task_shortcoming(unsure, None, "mAP") == (
        "agrees with the float file to 95.0 % (95 % interval 90.0 to 98.0 %; too few images to "
        "tell), where at least 97 % are wanted"
    )
    sure = replace(unsure, agreement_interval=(0.93, 0.96))
    assert "(95 % interval 93.0 to 96.0 %), where" in task_shortcoming(sure, None, "mAP")


def test_too_few_passes_are_no_measurement() -> None:
    turns = turns_of({"tflite-fp32": 1.0, "tflite-int8": 1.0})
    few = type(turns)(names=turns.names, medians=turns.medians[:4], benchmarks={})
    with pytest.raises(UsageError, match="too few"):
        few.judged("tflite-int8", "tflite-fp32", 0.95)


def test_what_was_measured_is_printed_before_a_strict_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed: list[tuple[object, object]] = []
    monkeypatch.setattr(
        view, "print_export", lambda report, output: printed.append((report, output))
    )
    report = SimpleNamespace(variants=[replace(task_file("tflite-int8"), faults=("lost much",))])
    for json in (False, True):
        with pytest.raises(StrictRefusal), view.shown_where_refused(json=json):
            check_strict(report, strict=True)
    assert printed == [(report, None)]
