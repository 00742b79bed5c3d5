"""Policy files: what is read, and what is refused with which words."""

import hashlib
from pathlib import Path

import pytest

from edge.comparison.metrics import METRICS
from edge.comparison.policy import Rule, default_policy, load_policy
from edge.errors import UsageError

RULE = '[[rule]]\nmetric = "top1_drop"\nat_most = 1.0\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "gate.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_is_read(tmp_path: Path) -> None:
    text = (
        'schema_version = 1\nname = "strict"\n'
        '[[rule]]\nmetric = "agreement"\nat_least = 0.98\nmissing = "skip"\n'
        '[[rule]]\nmetric = "latency_ms"\nat_most = -10\nunit = "percent"\nsource = "recorded"\n'
    )
    policy = load_policy(write(tmp_path, text))
    assert policy.rules == (
        Rule(metric="agreement", limit=0.98, missing="skip"),
        Rule(metric="latency_ms", limit=-10.0, percent=True, source="recorded"),
    )
    assert policy.record.name == "strict"
    assert policy.record.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert policy.sources() == ("recorded",)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_can_be_limited(tmp_path: Path, name: str) -> None:
    metric = METRICS[name]
    text = f'schema_version = 1\n[[rule]]\nmetric = "{name}"\n{metric.direction} = 1\n'
    (rule,) = load_policy(write(tmp_path, text)).rules
    assert rule == Rule(metric=name, limit=1.0)
    assert metric.meaning


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RULE, "schema_version is missing; this edge reads 1"),
        ("schema_version = 2\n" + RULE, "schema_version is 2; this edge reads 1"),
        ("schema_version = true\n" + RULE, "schema_version is true"),
        ("schema_version = 1\n", "rule is missing"),
        ("schema_version = 1\nrule = 3\n", "rule is 3, expected a list"),
        ("schema_version = 1\nrule = []\n", "rule is [], expected at least one entry"),
        ("schema_version = 1\nrules = 3\n" + RULE, "rules is unknown"),
        ("schema_version = 1\nname = 3\n" + RULE, "name is 3, expected a string"),
        (
            "schema_version = 1\n" + RULE.replace("top1_drop", "top1_dorp"),
            'rule[0].metric is "top1_dorp", which is unknown',
        ),
        ("schema_version = 1\n" + RULE.replace("at_most", "atmost"), "rule[0].atmost is unknown"),
        ("schema_version = 1\n" + RULE.replace("at_most", "at_least"), "takes one at_most"),
        ("schema_version = 1\n" + RULE + "at_least = 0\n", "at_most and at_least"),
        ("schema_version = 1\n" + RULE.replace("1.0", '"1"'), 'rule[0].at_most is "1", expected'),
        ("schema_version = 1\n" + RULE.replace("1.0", "true"), "rule[0].at_most is true, expected"),
        ("schema_version = 1\n" + RULE.replace("1.0", "nan"), "rule[0].at_most is NaN, expected"),
        ("schema_version = 1\n" + RULE.replace("1.0", "inf"), "rule[0].at_most is Infinity"),
        (
            "schema_version = 1\n" + RULE + 'missing = "ignore"\n',
            'rule[0].missing is "ignore", expected one of "fail", "skip"',
        ),
        ("schema_version = 1\n" + RULE + "missing = 1\n", "rule[0].missing is 1, expected one of"),
        ("schema_version = 1\n" + RULE + 'unit = "percent"\n', "top1_drop has no baseline"),
        ("schema_version = 1\n" + RULE + 'source = "measured"\n', "source is for latencies"),
        ("schema_version = 1\n[[rule]]\nat_most = 1\n", "rule[0].metric is missing"),
        ("schema_version = 1\n[[rule]]\nmetric = 1\nat_most = 1\n", "rule[0].metric is 1"),
        ("schema_version = 1\n[[rule]\n", "the policy is no TOML"),
        ("schema_version = 1\n" + RULE + "at_most_unchanged = 0.5\n", "from at_most (1) on"),
        (
            "schema_version = 1\n" + RULE + "at_most_unchanged = true\n",
            "unchanged is true",
        ),
        (
            'schema_version = 1\n[[rule]]\nmetric = "flips"\nat_most = 1\nat_most_unchanged = 2\n',
            "top1_drop, top5_drop, map_drop; flips is none",
        ),
    ],
)
def test_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_policy(write(tmp_path, text))
    assert said in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["", RULE.replace("at_most", "at_least")])
@pytest.mark.parametrize("metric", ["top1_drop", "agreement", "size_bytes"])
def test_the_hint_is_a_rule_that_a_policy_takes(tmp_path: Path, text: str, metric: str) -> None:
    """What is copied out of the hint is a policy, with the version at its top."""
    text = text.replace("top1_drop", metric)
    if metric == "agreement":
        text = text.replace("at_least", "at_most")
    with pytest.raises(UsageError) as caught:
        load_policy(write(tmp_path, "schema_version = 1\n" + text))
    assert "\n" not in caught.value.hint  # a message is one line, whatever it quotes
    copied = caught.value.hint.partition(": ")[2]
    (rule,) = load_policy(write(tmp_path, "schema_version = 1\n" + copied)).rules
    assert rule.metric == (metric if text else "top1_drop")


def test_the_drop_that_is_accepted_where_no_answer_changed(tmp_path: Path) -> None:
    text = "schema_version = 1\n" + RULE + "at_most_unchanged = 1.5\n"
    (rule,) = load_policy(write(tmp_path, text)).rules
    assert rule == Rule(metric="top1_drop", limit=1.0, unchanged=1.5)
    assert default_policy().rules[0] == rule
    assert default_policy(1.0).rules[0].unchanged is None


def test_the_probable_name_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_policy(write(tmp_path, "schema_version = 1\n" + RULE.replace("top1_d", "top1d")))
    assert 'Did you mean "top1_drop"?' in caught.value.hint
    assert all(name in caught.value.hint for name in METRICS)


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^there is no policy at .*none\.toml$"):
        load_policy(tmp_path / "none.toml")
    with pytest.raises(UsageError, match=r"cannot be read: Is a directory$"):
        load_policy(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="only UTF-8 is read"):
        load_policy(tmp_path / "binary.toml")


def test_the_built_in_policy_is_identified_by_its_rules() -> None:
    one, other = default_policy(1.0), default_policy(2.0)
    assert one.record.sha256 != other.record.sha256
    assert one == default_policy(1.0)
    assert one.sources() == ()
