"""JUnit XML: one test case per check, as Jenkins, GitLab and the GitHub actions read it.

The elements and attributes are those of the schema of Jenkins' xUnit plugin (junit-10.xsd).
GitLab identifies a test by class name and name and shows nothing of a failure but its text, so
the class name names both sides, no name stands twice, and the text repeats the message.
"""

from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree

import edge
from edge.comparison.result import Check, Comparison, Verdict
from edge.comparison.wording import meaning, sides
from edge.runtime.printable import one_line


def junit(comparison: Comparison, *, inconclusive_passes: bool = False) -> str:
    """Return the comparison as a JUnit XML document.

    Args:
        comparison: The comparison to report.
        inconclusive_passes: Whether an undecided check is a skipped test instead of a failed one.
    """
    tolerated = Verdict.INCONCLUSIVE if inconclusive_passes else None
    verdicts = [check.verdict for check in comparison.checks]
    skipped = sum(verdict == tolerated for verdict in verdicts)
    counts = {
        "tests": str(len(verdicts)),
        "failures": str(sum(verdict != Verdict.PASS for verdict in verdicts) - skipped),
        "errors": "0",
        "time": "0",  # required by some readers; a check of finished scores takes no time
    }
    root = ElementTree.Element("testsuites", {"name": "edge compare", **counts})
    name = one_line(f"{comparison.candidate.name} against {comparison.baseline.name}")
    attributes = {"name": name, **counts, "skipped": str(skipped)}
    suite = ElementTree.SubElement(root, "testsuite", attributes)
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in _properties(comparison):
        ElementTree.SubElement(properties, "property", name=key, value=one_line(value))
    seen: Counter[str] = Counter()
    for check in comparison.checks:
        seen[check.metric] += 1
        number = seen[check.metric]
        case = ElementTree.SubElement(
            suite,
            "testcase",
            # A dot in a class name ends a package.
            classname="edge.compare." + name.replace(".", "_"),
            name=one_line(check.metric) + (f" ({number})" if number > 1 else ""),
            time="0",
        )
        _outcome(case, check, skip=check.verdict == tolerated)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _outcome(case: ElementTree.Element, check: Check, *, skip: bool) -> None:
    reason = one_line(check.reason)
    text = f"{one_line(meaning(check.metric))}\n{reason}"
    if check.verdict == Verdict.PASS:
        ElementTree.SubElement(case, "system-out").text = text
    elif skip:
        ElementTree.SubElement(case, "skipped", message=reason).text = text
    else:
        kind = check.verdict.value
        ElementTree.SubElement(case, "failure", message=reason, type=kind).text = text


def _properties(comparison: Comparison) -> Iterator[tuple[str, str]]:
    yield "verdict", comparison.verdict.value
    yield "policy", comparison.policy.name
    yield "policy_sha256", comparison.policy.sha256
    for part, side in sides(comparison):
        yield part, side.name
        yield f"{part}_sha256", side.sha256
        yield f"{part}_engine", side.engine
    yield "images", str(comparison.images)
    yield "labelled", str(comparison.labelled)
    yield "edge", edge.__version__
