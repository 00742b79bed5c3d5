"""The files that docs/ci.md offers for copying: they parse, and name what exists."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from edge.cli.app import app
from edge.comparison.metrics import METRICS
from edge.comparison.policy import UNCHANGED_POINTS, check_metrics, load_policy
from edge.comparison.task_metrics import TaskEvidence
from edge.evaluation.confidence import most_changed

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "ci.md"
CI = ROOT / "docs" / "ci"
WORKFLOW = CI / "quantization-gate.yml"
HOOK = CI / "pre-commit-config.yaml"


def parsed(path: Path) -> dict[Any, Any]:
    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


def steps() -> list[dict[str, Any]]:
    (job,) = parsed(WORKFLOW)["jobs"].values()
    found = job["steps"]
    assert isinstance(found, list)
    return found


def step(name: str) -> dict[str, Any]:
    (found,) = [item for item in steps() if item.get("name") == name]
    return found


def commands(text: str) -> list[list[str]]:
    """Every ``edge`` command line in a text, in words."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = re.findall(r"^\s*(?:- |entry: )?(edge [a-z]+ [^#\n]*)", joined, re.MULTILINE)
    return [shlex.split(line) for line in found]


def every_command() -> list[tuple[str, list[str]]]:
    (hook,) = parsed(HOOK)["repos"][0]["hooks"]
    texts = {
        "docs/ci.md": "\n".join(re.findall(r"```\w+\n(.*?)```", DOCS.read_text("utf-8"), re.S)),
        WORKFLOW.name: "\n".join(item.get("run", "") for item in steps()),
        HOOK.name: hook["entry"],
    }
    return [(name, command) for name, text in texts.items() for command in commands(text)]


# ---- commands ----------------------------------------------------------------------------------


def test_every_example_has_its_command() -> None:
    names = [name for name, _ in every_command()]
    assert sorted(set(names)) == sorted({"docs/ci.md", WORKFLOW.name, HOOK.name})
    assert len(names) == 4


@pytest.mark.parametrize(("name", "command"), every_command())
def test_commands_name_what_exists(name: str, command: list[str]) -> None:
    """The command line parser itself reads them: unknown options and missing arguments fail."""
    _, subcommand, *arguments = command
    found = get_command(app).commands[subcommand]  # type: ignore[attr-defined]
    context = found.make_context(subcommand, arguments, resilient_parsing=False)
    assert context.params["baseline"]
    assert context.params["candidate"]
    if name != WORKFLOW.name:  # which names them in its environment
        assert str(context.params["policy"]) == "ci/gate.toml"
        assert str(context.params["directory"]) == "photos/test"


def test_the_commands_are_read_at_all() -> None:
    (command,) = commands("- edge compare bundle photos --no-such-option 1")
    with pytest.raises(Exception, match="no-such-option"):
        get_command(app).commands["compare"].make_context("compare", command[2:])  # type: ignore[attr-defined]


def test_the_documented_options_exist() -> None:
    known = {
        option
        for parameter in get_command(app).commands["compare"].params  # type: ignore[attr-defined]
        for option in parameter.opts
    }
    prose = re.sub(r"```.*?```", "", DOCS.read_text("utf-8"), flags=re.S)
    named = set(re.findall(r"`(--[a-z-]+)", prose))
    assert named
    assert named <= known


# ---- policy ------------------------------------------------------------------------------------


def test_the_policy_loads() -> None:
    policy = load_policy(CI / "gate.toml")
    assert policy.record.name == "quantization gate"
    assert {rule.metric for rule in policy.rules} <= set(METRICS)
    (drop,) = [rule for rule in policy.rules if rule.metric == "top1_drop"]
    assert (drop.limit, drop.unchanged) == (1.0, UNCHANGED_POINTS)
    assert policy.sources() == ()  # nothing is timed on a shared runner
    (size,) = [rule for rule in policy.rules if rule.metric == "size_bytes"]
    assert size.percent
    assert size.limit > -49.81  # MobileNet in float16


def test_the_policy_of_detectors_is_for_detectors() -> None:
    policy = load_policy(CI / "detector-gate.toml")
    check_metrics(policy, TaskEvidence, "detectors")
    limits = {rule.metric for rule in policy.rules}
    assert {item.name for item in METRICS.values() if item.of is TaskEvidence} <= limits


def test_the_limit_on_time_can_be_taken_in(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    text = (CI / "gate.toml").read_text("utf-8")
    path.write_text(re.sub(r"^#(?=\S)", "", text, flags=re.M))
    assert load_policy(path).sources() == ("recorded",)


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| `(\w+)`, (\w+) \|$", DOCS.read_text("utf-8"), re.M)
    known = [item for item in METRICS.values() if item.of is TaskEvidence]
    assert rows == [(item.name, item.meaning, item.direction, item.unit) for item in known]


def test_the_table_of_images_is_computed() -> None:
    text = DOCS.read_text("utf-8")
    images, points = (
        [float(cell) for cell in re.findall(r"[\d.]+(?= \|)", row)]
        for row in re.findall(r"^\| (?:images without|points that can).*\|$", text, re.MULTILINE)
    )
    points = points[-len(images) :]  # the first cell of the row has a number as well
    assert len(images) == 5
    for count, stated in zip(images, points, strict=True):
        assert 100 * most_changed(count, 0, 0.95) == pytest.approx(stated, abs=0.005)


# ---- workflow ----------------------------------------------------------------------------------


def test_the_job_fails_with_the_gate_and_nothing_else() -> None:
    gate = step("Compare")
    assert "continue-on-error" not in gate
    assert "||" not in gate["run"]
    position = steps().index(gate)
    for later in steps()[position + 1 :]:
        assert "!cancelled()" in later["if"], later
    for name in ("Comment", "Code scanning", "Save the scores"):
        assert step(name)["continue-on-error"] is True


def test_the_reports_are_used_where_they_are_written() -> None:
    environment = parsed(WORKFLOW)["env"]
    written = set(re.findall(r'"\$REPORTS/(compare\.\w+)"', step("Compare")["run"]))
    assert written == {"compare.xml", "compare.md", "compare.sarif"}
    assert "$REPORTS/compare.md" in step("Summary")["run"]
    assert "$GITHUB_STEP_SUMMARY" in step("Summary")["run"]
    assert step("Code scanning")["with"]["sarif_file"].endswith("/compare.sarif")
    assert step("Keep the reports")["with"]["path"] == "${{ env.REPORTS }}"
    used = set(re.findall(r"env\.([A-Z]+)\b", WORKFLOW.read_text("utf-8"))) - {"MARK"}
    assert used <= set(environment)


def test_the_workflow_may_do_little() -> None:
    workflow = parsed(WORKFLOW)
    assert workflow["permissions"] == {}
    (job,) = workflow["jobs"].values()
    assert job["permissions"] == {
        "contents": "read",
        "pull-requests": "write",
        "security-events": "write",
        "actions": "read",
    }
    assert "pull_request_target" not in workflow[True]  # YAML 1.1 reads the key "on" as true
    # What a pull request says reaches a shell only through the environment.
    for item in steps():
        assert "${{" not in item.get("run", "")


def test_the_bundle_is_named_alike() -> None:
    environment = parsed(WORKFLOW)["env"]
    paths = parsed(WORKFLOW)[True]["pull_request"]["paths"]
    assert f"{environment['BUNDLE']}/**" in paths
    assert f"{environment['IMAGES'].partition('/')[0]}/**" in paths


# ---- packages ----------------------------------------------------------------------------------


def test_the_light_install_is_a_part_of_the_whole() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (CI / "requirements.txt").read_text("utf-8").splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    assert set(packages) <= set(project["dependencies"])
    assert not [name for name in packages if re.match("tensorflow|keras|tf2onnx", name)]


def test_nothing_is_installed_that_no_index_has() -> None:
    """edge is on no package index: only files, URLs and what requirements.txt lists."""
    name = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["name"]
    texts = [path.read_text("utf-8") for path in (DOCS, *CI.iterdir())]
    texts += [path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")]
    texts.append((ROOT / "README.md").read_text("utf-8"))
    said = [words for text in texts for words in re.findall(r"pip install ([^\n`#]+)", text)]
    assert len(said) > 4
    for words in said:
        assert not re.search(rf"(?<![\w/]){name}(?![\w-]*\.whl)", words), words
    wheel = name.replace("-", "_")
    assert parsed(WORKFLOW)["env"]["EDGE"] == f"ci/{wheel}-*.whl"
    assert "$EDGE" in step("Install edge without TensorFlow")["run"]


# ---- pre-commit --------------------------------------------------------------------------------


def test_the_hook_runs_on_the_manifest() -> None:
    (hook,) = parsed(HOOK)["repos"][0]["hooks"]
    assert hook["pass_filenames"] is False
    pattern = re.compile(hook["files"])
    assert pattern.search("bundle/manifest.json")
    assert not pattern.search("bundle/models/a.tflite")
    assert not pattern.search("other/bundle/manifest.json")


@pytest.mark.parametrize("link", re.findall(r"\]\((ci/[^)]+)\)", DOCS.read_text("utf-8")))
def test_links(link: str) -> None:
    assert (DOCS.parent / link).is_file()
