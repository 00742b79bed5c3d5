"""Reports of a comparison: read back, whatever the names in it are."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edge.cli.check.view import print_comparison
from edge.comparison.metrics import CONSTANT_OUTPUTS, METRICS
from edge.comparison.reports.junit import junit
from edge.comparison.reports.markdown import LARGEST, markdown
from edge.comparison.reports.sarif import relative_uri, sarif
from edge.comparison.result import (
    Check,
    ClassRecall,
    Comparison,
    Confusion,
    Flip,
    Interval,
    Paired,
    PolicyRecord,
    Side,
    Verdict,
)
from edge.comparison.wording import meaning
from edge.markup import code, prose

# Everything that means something to XML, Markdown, HTML, GitHub or a terminal; and a byte of a
# file name that is not UTF-8, as Python reads it.
NASTY = (
    "a|b`c`*d*_e_\n# f <b>g</b> <!-- & \"h\" 'i' ]]> [j](https://k) @octocat #1 :x: \\| ~~l~~ "
    "$m$ \x00\x1b[31m\x85\u2028\u202e\ufffe\udcff é 猫 </details>"
)

CHECKS = (
    Check(
        metric="top1_drop",
        unit="points",
        value=0.25,
        interval=Interval(-1.0, 1.5),
        limit=1.0,
        direction="at_most",
        verdict=Verdict.INCONCLUSIVE,
        reason="0.25 points, allowed is at most 1.00 points; about 800 more images would tell",
        images_needed=800,
    ),
    Check(
        metric="agreement",
        unit="share",
        value=0.9,
        interval=Interval(0.85, 0.93),
        limit=0.95,
        direction="at_least",
        verdict=Verdict.FAIL,
        reason="90.00 %, allowed is at least 95.00 %",
    ),
    Check(
        metric="size_ratio",
        unit="ratio",
        value=0.27,
        interval=None,
        limit=0.3,
        direction="at_most",
        verdict=Verdict.PASS,
        reason="0.270, allowed is at most 0.300",
    ),
)


def side(name: str, path: str = "bundle/models/a.tflite") -> Side:
    return Side(
        name=name,
        path=path,
        sha256="0123456789abcdef" * 4,
        size_bytes=4_512_345,
        engine="ai-edge-litert 2.1",
        top1=0.865,
        top1_interval=Interval(0.828, 0.895),
        top5=None,
        top5_interval=None,
        ece=0.021,
    )


def comparison(
    *,
    name: str = "cat",
    checks: tuple[Check, ...] = CHECKS,
    flips: int = 3,
    **changes: Any,
) -> Comparison:
    flip = Flip(
        path=f"photos/{name}/1.jpg",
        truth=name,
        baseline=name,
        baseline_score=0.6,
        candidate=f"{name}2",
        candidate_score=0.55,
    )
    recall = ClassRecall(
        label=name,
        images=40,
        baseline=0.95,
        candidate=0.9,
        baseline_interval=Interval(0.835, 0.986),
        candidate_interval=Interval(0.769, 0.96),
        drop_points=5.0,
        p_value=0.2,
    )
    made = Comparison(
        verdict=Verdict.FAIL,
        baseline=side("tflite-fp32"),
        candidate=side("tflite-int8"),
        images=400,
        labelled=390,
        left_out=("photos/c.jpg",),
        skipped={},
        identical=False,
        paired=Paired(
            lost=5,
            gained=4,
            mcnemar_p=1.0,
            drop_points=0.25,
            drop_interval=Interval(-1.0, 1.5),
            confidence=0.95,
            margin_points=1.0,
        ),
        agreement=0.9,
        checks=checks,
        classes=(recall, replace(recall, label="dog", drop_points=0.0)),
        flips=(flip,) * flips,
        confusion=(
            Confusion(truth=name, answer=name, images=36),
            Confusion(truth=name, answer="dog", images=4),
        ),
        policy=PolicyRecord(name=name, sha256="fedcba9876543210" * 4, path="gate.toml"),
        host={"machine": "x86_64", "cpus": 2},
        notes=(f"about {name}",),
    )
    return replace(made, **changes)


def nasty() -> Comparison:
    checks = tuple(replace(check, reason=f"{check.reason} {NASTY}") for check in CHECKS)
    return comparison(
        name=NASTY,
        checks=checks,
        baseline=side(NASTY),
        candidate=side(NASTY, "models/" + NASTY.replace("\0", "")),
    )


# ---- JUnit -------------------------------------------------------------------------------------


def test_junit_has_a_case_per_check() -> None:
    root = ElementTree.fromstring(junit(comparison()))
    (suite,) = root.findall("testsuite")
    assert [case.get("name") for case in suite.findall("testcase")] == [c.metric for c in CHECKS]
    for element in (root, suite):
        assert (element.get("tests"), element.get("failures")) == ("3", "2")
        assert element.get("errors") == "0"
    assert suite.get("skipped") == "0"
    undecided, failed, passed = suite.findall("testcase")
    (failure,) = failed.findall("failure")
    assert (failure.get("type"), failure.get("message")) == ("fail", CHECKS[1].reason)
    assert CHECKS[1].reason in (failure.text or "")  # all that GitLab shows
    assert [item.get("type") for item in undecided.findall("failure")] == ["inconclusive"]
    assert not passed.findall("failure")
    properties = {item.get("name"): item.get("value") for item in suite.iter("property")}
    assert properties["policy_sha256"] == "fedcba9876543210" * 4
    assert properties["candidate_sha256"] == properties["baseline_sha256"]
    assert (properties["images"], properties["labelled"]) == ("400", "390")
    assert properties["verdict"] == "fail"


def test_junit_skips_what_may_be_undecided() -> None:
    root = ElementTree.fromstring(junit(comparison(), inconclusive_passes=True))
    (suite,) = root.findall("testsuite")
    assert (root.get("failures"), suite.get("skipped")) == ("1", "1")
    (skipped,) = suite.iter("skipped")
    assert skipped.get("message") == CHECKS[0].reason


def test_junit_names_are_unique() -> None:
    """GitLab ignores the second test of a name."""
    root = ElementTree.fromstring(junit(comparison(checks=(*CHECKS, *CHECKS))))
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(set(names)) == 6
    assert all(str(group).count(".") == 2 for group, _ in names)


def test_junit_of_nasty_names() -> None:
    text = junit(nasty())
    root = ElementTree.fromstring(text.encode("utf-8"))
    assert len(list(root.iter("testcase"))) == 3
    failure = next(root.iter("failure"))
    assert "@octocat" in (failure.text or "")
    assert "é 猫 </details>" in str(failure.get("message"))
    assert not re.search("[\x00-\x08\x0b-\x1f\ufffe\ud800-\udfff]", text)


def test_junit_as_another_reader_sees_it() -> None:
    junitparser = pytest.importorskip("junitparser")
    found = junitparser.JUnitXml.fromstring(junit(nasty(), inconclusive_passes=True))
    assert (found.tests, found.failures, found.errors) == (3, 1, 0)
    (suite,) = found
    kinds = [[type(result).__name__ for result in case.result] for case in suite]
    assert kinds == [["Skipped"], ["Failure"], []]


# ---- Markdown ----------------------------------------------------------------------------------


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every table, split where GitHub splits them: at bars without a backslash."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()] for block in blocks]


@pytest.mark.parametrize("made", [comparison(), nasty()], ids=["plain", "nasty"])
def test_markdown_tables_are_whole(made: Comparison) -> None:
    text = markdown(made)
    found = tables(text)
    assert [len(table) - 2 for table in found] == [4, 3, 1, 3, 1]
    for table in found:
        assert len({len(row) for row in table}) == 1
        assert all(re.fullmatch(r" -{3}:? ", cell) for cell in table[1])
    assert text.count("<details>") == text.count("</details>") == 2
    assert text.count("<code>") == text.count("</code>")
    assert set(re.findall(r"</?(\w+)", text)) == {"details", "summary", "code", "sub"}


def test_markdown_says_what_was_found() -> None:
    text = unescape(markdown(comparison()))
    for part in (
        "❌ edge compare: fail",
        "400 images, 390 of them labelled; 1 left out",
        "86.50 % (82.80 to 89.50 %)",
        "2.10 %",
        "4.51 MB",
        "**0.25 points** (-1.00 to 1.50 points) with 95 % confidence; up to 1.00 points",
        "5 images lost, 4 gained (exact McNemar p = 1)",
        "⚠️ inconclusive",
        "❌ fail | 90.00 %, allowed is at least 95.00 % |",
        "about 800 more images would tell",
        "best class changed: 3",
        "<code>fedcba987654</code>",
        "<code>0123456789ab</code>",
        "machine x86_64, cpus 2",
    ):
        assert part in text
    assert "top-5" not in text  # neither side has one
    assert text.count("<code>dog</code>") == 1  # as an answer; its recall did not drop


def test_markdown_without_labels() -> None:
    bare = replace(side("a"), top1=None, top1_interval=None, ece=None)
    made = comparison(
        paired=None, labelled=0, classes=(), confusion=(), flips=0, baseline=bare, candidate=bare
    )
    text = markdown(made)
    assert "top-1" not in text
    assert "Both name the same best class on 90.00 % of the images." in text
    assert "<details>" not in text


def test_markdown_begins_with_a_mark_that_stays() -> None:
    """The workflow finds its own comment by the first line."""
    first = markdown(comparison()).splitlines()[0]
    assert first == "<!-- edge compare tflite-fp32 tflite-int8 -->"
    assert markdown(comparison(flips=0, verdict=Verdict.PASS)).splitlines()[0] == first
    mark = markdown(nasty()).splitlines()[0]
    assert re.fullmatch(r"<!-- edge compare [\w -]+ -->", mark)
    assert "--" not in mark[4:-3]


def test_markdown_counts_the_flips_that_it_hides() -> None:
    text = markdown(comparison(flips=1_234))
    assert text.count("photos/cat/1.jpg") == 50
    assert "and 1,184 more" in text


def test_markdown_is_never_larger_than_a_comment() -> None:
    """Even if every name and reason is as long as can be and all of it has to be escaped."""
    name = "|" * 1_000
    made = comparison(
        name=name,
        flips=5_000,
        checks=tuple(replace(check, reason=name) for check in CHECKS * 100),
        baseline=side(name),
        candidate=side(name),
        notes=(name,) * 100,
        host={"machine": name},
    )
    made = replace(made, classes=made.classes * 500, confusion=made.confusion * 500)
    text = markdown(made)
    assert len(text.encode()) <= LARGEST
    assert "and 4,992 more" in text
    assert "❌ fail" in tables(text)[1][2][1]  # what fails is not what is cut


@pytest.mark.parametrize("write", [code, prose])
def test_text_means_nothing_to_markdown(write: Any) -> None:
    """No character that Markdown, HTML or GitHub reads is left but in a character reference."""
    written = write(NASTY, 400).removeprefix("<code>").removesuffix("</code>")
    assert not re.search(r"[|`*<>\[\]\\~@$\n]|:\S|#(?!\d+;)|&(?!#\d+;)", written)
    assert "_" not in written
    shown = unescape(written).replace("\u2060", "")
    assert shown.startswith(r"a|b`c`*d*_e_\n# f <b>g</b>")
    assert shown.endswith("é 猫 </details>")


def test_prose_mentions_nobody() -> None:
    assert not re.search(r"[@#]\w", unescape(prose("thanks @octocat for #12")))


def test_a_long_name_keeps_its_end() -> None:
    assert code("folder/" * 50 + "1.jpg", 20).endswith("folder/1.jpg</code>")
    assert prose("word " * 500, 20).endswith("…")


# ---- SARIF -------------------------------------------------------------------------------------


def filled(value: Any) -> bool:
    """GitHub: "The empty string is not supported for required properties"."""
    return isinstance(value, str) and bool(value)


@pytest.mark.parametrize("made", [comparison(), nasty()], ids=["plain", "nasty"])
def test_sarif_has_what_github_requires(made: Comparison) -> None:
    """The properties that "SARIF support for code scanning" marks as required."""
    log = json.loads(sarif(made).encode("utf-8"))
    assert log["version"] == "2.1.0"
    assert filled(log["$schema"])
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert filled(driver["name"])
    assert len(driver["rules"]) == 3
    for rule in driver["rules"]:
        assert filled(rule["id"])
        for key in ("shortDescription", "fullDescription", "help"):
            assert 0 < len(rule[key]["text"]) <= 1024
    assert [result["level"] for result in run["results"]] == ["warning", "error"]
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert filled(result["message"]["text"])
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert re.fullmatch(r"[A-Za-z0-9._~%/-]+", place["artifactLocation"]["uri"])
        assert not place["artifactLocation"]["uri"].startswith("/")
        assert set(place["region"]) == {"startLine", "startColumn", "endLine", "endColumn"}
        assert all(number >= 1 for number in place["region"].values())
        assert re.fullmatch(
            r"[0-9a-f]{16}:\d+", result["partialFingerprints"]["primaryLocationLineHash"]
        )


def test_sarif_holds_the_numbers() -> None:
    (run,) = json.loads(sarif(comparison()))["runs"]
    undecided, failed = run["results"]
    assert failed["ruleId"] == "edge-compare/agreement"
    assert failed["message"]["text"] == f"agreement: {CHECKS[1].reason}."
    assert undecided["properties"] == {
        "value": 0.25,
        "interval": [-1.0, 1.5],
        "unit": "points",
        "direction": "at_most",
        "limit": 1.0,
        "verdict": "inconclusive",
        "images_needed": 800,
    }
    assert run["properties"]["policy_sha256"] == "fedcba9876543210" * 4
    assert "percentage points of top-1" in run["tool"]["driver"]["rules"][0]["help"]["text"]


def test_sarif_without_a_finding_closes_the_alerts() -> None:
    (run,) = json.loads(sarif(comparison(checks=CHECKS[2:])))["runs"]
    assert run["results"] == []
    assert len(run["tool"]["driver"]["rules"]) == 1


def test_sarif_fingerprints_stay_and_differ() -> None:
    def prints(made: Comparison) -> list[str]:
        results = json.loads(sarif(made))["runs"][0]["results"]
        return [result["partialFingerprints"]["primaryLocationLineHash"] for result in results]

    before = prints(comparison())
    changed = tuple(replace(check, value=0.5, limit=0.6, reason="new") for check in CHECKS)
    assert prints(comparison(checks=changed)) == before
    assert len(set(prints(comparison(checks=CHECKS * 2)))) == 4
    assert not set(prints(comparison(baseline=side("onnx-fp32")))) & set(before)


def test_sarif_knows_no_infinity() -> None:
    endless = replace(CHECKS[0], value=float("inf"), interval=Interval(float("-inf"), 1.0))

    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = sarif(comparison(checks=(endless,)))
    found = json.loads(text, parse_constant=refuse)["runs"][0]["results"][0]["properties"]
    assert (found["value"], found["interval"]) == (None, [None, 1.0])


def test_places_are_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my models").mkdir()
    model = tmp_path / "my models" / "a:b#%é.tflite"
    model.touch()
    (tmp_path / "link.tflite").symlink_to(model)
    wanted = "my%20models/a%3Ab%23%25%C3%A9.tflite"
    assert relative_uri(model) == wanted
    assert relative_uri(Path("my models") / model.name) == wanted
    assert relative_uri(Path("link.tflite")) == wanted  # GitHub shows nothing for a link
    assert relative_uri(Path("/elsewhere/int 8.onnx")) == "int%208.onnx"


def test_every_check_is_explained() -> None:
    """A rule of code scanning needs a description; the built-in check has no metric."""
    for metric in (*METRICS, CONSTANT_OUTPUTS):
        assert re.fullmatch(rf"{metric}: \w.*[^.]", meaning(metric))


@pytest.mark.parametrize(("chance", "said"), [(0.2, True), (1e-4, False)])
def test_a_drop_that_may_be_chance_is_said_below_the_classes(
    capsys: pytest.CaptureFixture[str], chance: float, said: bool
) -> None:
    """The rule on the worst class passes with 0 above a class that loses 100 points."""
    made = comparison()
    worst = replace(made.classes[0], candidate=0.0, drop_points=100.0, p_value=chance)
    print_comparison(replace(made, classes=(worst,)))
    shown = capsys.readouterr().out
    assert "+100.0 pt" in shown
    assert ("None of these drops counts as a loss" in shown) == said
