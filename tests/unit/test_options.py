"""Every option of every command: given, it changes what the job receives, or it is refused.

The functions that do the work are replaced by recorders. A command runs with and without an option;
what the recorders received, the exit code and standard output have to differ. An option that has no
entry here fails the test, so that none is added that nobody reads.
"""

import ast
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest.mock import MagicMock, patch

import pytest
import typer
from typer.testing import CliRunner

from edge.cli.app import app
from edge.device.messages import Done
from edge.errors import UsageError

Words = tuple[str, ...]


@dataclass(frozen=True)
class With:
    """An option that only another one gives a meaning.

    Attributes:
        others: The words that go before it, with and without the option.
        value: The words after the option.
    """

    others: Words
    value: Words = ()


@dataclass(frozen=True)
class Walk:
    """How one command is walked.

    Attributes:
        words: A command line that its parser accepts.
        jobs: The functions that get what the command was told, as MODULE:NAME.
        options: Each option with the words after it.
        results: What recorders return, by name, where a mock is not enough.
    """

    words: Words
    jobs: Words
    options: Mapping[str, str | Words | With]
    results: Mapping[str, Any] = field(default_factory=dict)


FLAG: Final[Words] = ()
OUTPUT: Final = {"--json": FLAG, "--quiet": FLAG}
NETWORK: Final = {
    "--backbone": "resnet50",
    "--weights": "none",
    "--size": "96",
    "--alpha": "0.5",
    "--input-range": "tf",
    "--channel-order": "bgr",
}
BUNDLE: Final = {
    "--output": "elsewhere",
    "--variants": "onnx-fp32",
    "--quantize": "w8a16",
    "--max-drop": With(("--quantize", "auto"), ("2",)),
    "--recipe": "recipe.json",
    "--default": "tflite-fp16",
    "--strict": FLAG,
    "--calibration-images": "7",
    "--seed": "3",
    "--overwrite": FLAG,
    "--cache": "elsewhere",
    **OUTPUT,
}
SSH: Final = {"--port": "2222", "--ssh-config": "ssh-config", "--accept-new-host-key": FLAG}
ON_DEVICE: Final = {"--app": "door", **SSH, "--json": FLAG}
MEASURE: Final = {
    "--variant": "tflite-int8",
    "--threads": "7",
    "--batch": "4",
    "--input-shape": "1x2x2x3",
    "--runs": "9",
    "--min-secs": "2",
    "--max-secs": "20",
    "--warm-up-secs": "3",
    "--images": "photos",
    "--sustained": "2",
    "--timeout-secs": "9",
    "--seed": "3",
    "--output": "other.json",
    "--overwrite": FLAG,
    **OUTPUT,
}
DELEGATE: Final = {
    "--python": f"onnxruntime-cpu={sys.executable}",
    "--delegate": "libdelegate.so",
    "--delegate-option": "key=value",
}
DEPLOY: Final = {
    "--device": "raspberry-pi-5",
    "--ssh-config": "ssh-config",
    "--accept-new-host-key": FLAG,
    "--dry-run": FLAG,
    "--app": "door",
    "--variant": "tflite-int8",
    "--engine": "litert",
    "--threads": "7",
    "--max-latency": "50",
    "--max-memory": "90",
    "--watch": "3",
    "--selftest-timeout": "9",
    "--start-timeout": "9",
    "--watchdog": "9",
    "--keep": "3",
    "--allow-downgrade": FLAG,
    "--provision": FLAG,
    "--live": FLAG,
    "--camera": With(("--live",), ("csi",)),
    "--live-port": With(("--live",), ("8081",)),
    "--size": With(("--live",), ("1280x720",)),
    "--rate": With(("--live",), ("5",)),
    "--smoothing": With(("--live",), ("5",)),
    "--mqtt": With(("--live",), ("mqtt://home",)),
    "--key": "key",
    "--offline": FLAG,
    "--cache": "elsewhere",
    **OUTPUT,
}
DEPLOY_JOBS: Final = (
    "edge.deploy.keys:public_key",
    "edge.deploy.signing:refuse_altered",
    "edge.deploy.plan:checked_bundle",
    "edge.deploy.remote_benchmark:planned",
    "edge.deploy.deploy:deploy",
    "edge.deploy.ssh:Remote",
)
INCONCLUSIVE: Final = "inconclusive"

# What a user says of a .tflite or .onnx file, the same in every command.
MODEL_FILE: Mapping[str, str] = {
    "--task": "detection",
    "--decoder": "yolov8",
    "--labels": "labels.txt",
    "--size": "96",
    "--input-range": "0,1",
    "--channel-order": "bgr",
    "--resize": "stretch",
    "--interpolation": "nearest",
    "--pad-value": "0",
    "--pad-position": "top-left",
    "--output-activation": "softmax",
    "--threshold": "0.7",
    "--score-threshold": "0.5",
    "--iou-threshold": "0.5",
    "--max-results": "5",
    "--anchors": "anchors.csv",
    "--decoder-option": "coordinates=pixels",
}
WALKS: Final[dict[str, Walk]] = {
    "build": Walk(
        ("photos", "-o", "new"),
        ("edge.pipeline.build:build",),
        {
            **NETWORK,
            **BUNDLE,
            "--resize": "stretch",
            "--strategy": "augment",
            "--head": "128",
            "--optimizer": "sgd",
            "--loss": "categorical_hinge",
            "--learning-rate": "0.5",
            "--batch-size": "8",
            "--epochs": "3",
            "--patience": "2",
            "--no-class-weights": FLAG,
            "--class-weights": With(("--no-class-weights",)),
            "--label-smoothing": "0.1",
            "--unfreeze": With(("--strategy", "fine-tune"), ("all",)),
            "--tune-learning-rate": With(("--strategy", "augment"), ("0.5",)),
            "--tune-epochs": With(("--strategy", "augment"), ("3",)),
            "--augmentation": With(("--strategy", "augment"), ("none",)),
            "--mirror": With(("--strategy", "augment")),
            "--no-mirror": With(("--strategy", "augment")),
            "--mixup": With(("--strategy", "augment"), ("0.2",)),
            "--cutmix": With(("--strategy", "augment")),
            "--train-images": "50",
            "--groups": "groups.csv",
            "--divide-groups": With(("--groups", "groups.csv")),
            "--name": "door",
        },
    ),
    "export": Walk(
        ("mobilenet", "--calibration-data", "photos", "-o", "new"),
        ("edge.pipeline.export:export",),
        {
            **BUNDLE,
            "--calibration-data": "others",
            "--evaluation-data": "others",
            "--annotations": "voc",
            "--weights": "none",
            "--labels": "labels.txt",
            "--resize": "stretch",
            "--output-activation": "sigmoid",
            "--threshold": "0.3",
            "--positive-class": "cat",
            "--truth": "truth.csv",
            "--size": "96",
            "--input-range": "tf",
            "--channel-order": "bgr",
            **MODEL_FILE,
            "--dry-run": FLAG,
            "--model-output": "classes",
            "--custom-objects": "own.py",
        },
    ),
    "reproduce": Walk(
        ("bundle", "photos"),
        ("edge.pipeline.reproduce.reproduce:reproduce",),
        {
            "--output": "new",
            "--evaluation-data": "others",
            "--files": "others",
            "--anyway": FLAG,
            "--overwrite": FLAG,
            "--cache": "elsewhere",
            **OUTPUT,
        },
    ),
    "dataset digits": Walk(("new",), ("edge.dataset.digits:export_digits",), {"--json": FLAG}),
    "evaluate": Walk(
        ("bundle", "photos"),
        ("edge.evaluation.evaluate:evaluate",),
        {
            "--variant": "tflite-int8",
            "--truth": "truth.csv",
            "--annotations": "coco",
            "--engine": "litert",
            "--cache": "elsewhere",
            **OUTPUT,
        },
    ),
    "compare": Walk(
        ("bundle", "photos", "--baseline", "tflite-fp32", "--candidate", "tflite-int8"),
        ("edge.comparison.compare:compare", "edge.cli.check.view:print_comparison"),
        {
            "--baseline": "onnx-fp32",
            "--candidate": "onnx-int8",
            "--margin": "2",
            "--confidence": "0.9",
            "--policy": "policy.toml",
            "--inconclusive": "pass",
            "--junit": "new.xml",
            "--markdown": "new.md",
            "--sarif": "new.sarif",
            "--overwrite": With(("--junit", "there.xml")),
            "--truth": "truth.csv",
            "--annotations": "voc",
            **MODEL_FILE,
            "--engine": "litert",
            "--cache": "elsewhere",
            **OUTPUT,
        },
        {"compare": INCONCLUSIVE},
    ),
    "diagnose": Walk(
        ("bundle", "photos"),
        ("edge.diagnosis.diagnose:diagnose", "edge.cli.check.diagnosis_view:print_diagnosis"),
        {
            "--images": "7",
            "--block-images": "3",
            "--no-try": FLAG,
            "--recipe-output": "new.json",
            "--all-layers": FLAG,
            "--plot": "new.png",
            "--overwrite": With(("--plot", "there.png")),
            **OUTPUT,
        },
    ),
    "inspect": Walk(
        ("model.tflite",),
        ("edge.inspection.model:inspect_model",),
        {"--variant": "tflite-int8", "--input-shape": "1x2x2x3", "--json": FLAG},
    ),
    "explain": Walk(
        ("bundle", "photo.jpg", "-o", "new"),
        ("edge.explanation.explain:explain", "edge.explanation.page:write"),
        {
            "--output": "elsewhere",
            "--variant": "tflite-int8",
            "--class": "cat",
            "--layers": "conv1",
            "--method": "occlusion",
            "--masks": "50",
            "--seed": "3",
            "--files-only": FLAG,
            "--overwrite": With(("-o", "photos")),
            **OUTPUT,
        },
    ),
    "fewshot": Walk(
        ("photos",),
        ("edge.fewshot.run:score_methods",),
        {
            **NETWORK,
            **OUTPUT,
            "--ways": "3",
            "--shots": "2",
            "--queries": "2",
            "--episodes": "9",
            "--methods": "knn",
            "--bundle": "bundle",
            "--iterations": "9",
            "--train-classes": "0.5",
            "--split": "groups",
            "--no-rotations": FLAG,
            "--rotations": With(("--no-rotations",)),
            "--plot": "new.png",
            "--overwrite": With(("--plot", "there.png")),
            "--seed": "3",
            "--cache": "elsewhere",
        },
    ),
    "predict": Walk(
        ("mobilenet", "photo.jpg"),
        ("edge.runtime.commands.predict:answered", "edge.embedding.imagenet:imagenet_classifier"),
        {
            "--top-k": "1",
            "--variant": "tflite-int8",
            "--engine": "litert",
            "--threads": "7",
            "--cache": "elsewhere",
            "--csv": "new.csv",
            "--draw": "drawn.jpg",
            "--overwrite": With(("--csv", "there.csv")),
            **MODEL_FILE,
            **OUTPUT,
        },
        {"answered": lambda opened, *_: opened() and 0},
    ),
    "live": Walk(
        (),
        (
            "edge.runtime.live.service:serve",
            "edge.live.session:open_session",
            "edge.live.tunnel:tunnel",
            "edge.live.tunnel:deployed_port",
        ),
        {
            "--camera": "1",
            "--size": "320x240",
            "--rate": "5",
            "--listen": "127.0.0.1:9090",
            "--open": FLAG,
            "--no-open": With(("--open",)),
            "--output": "elsewhere",
            "--no-pictures": FLAG,
            "--variant": "tflite-int8",
            "--engine": "litert",
            "--threads": "7",
            "--smoothing": "3",
            "--mqtt": "mqtt://home",
            "--live-port": With(("pi",), ("9090",)),
            "--app": With(("pi",), ("door",)),
            "--port": With(("pi",), ("2222",)),
            "--ssh-config": With(("pi",), ("ssh-config",)),
            "--accept-new-host-key": With(("pi",)),
            "--cache": "elsewhere",
            "--quiet": FLAG,
        },
        {"serve": 0},
    ),
    "tag": Walk(
        ("photos",),
        (
            "edge.tagging.tag:tag",
            "edge.tagging.tag:kept",
            "edge.tagging.index:TagIndex",
            "edge.cli.use.view:write_outputs",
            "edge.cli.use.view:show",
        ),
        {
            "--bundle": "bundle",
            "--variant": "tflite-int8",
            "--backbone": "resnet50",
            "--threshold": "0.5",
            "--max-tags": "7",
            "--find": "sea",
            "--groups": "groups.txt",
            "--no-update": FLAG,
            "--csv": "new.csv",
            "--xmp": FLAG,
            "--xmp-dir": "new",
            "--xmp-name": With(("--xmp",), ("replaced",)),
            "--copy-to": "new",
            "--link": With(("--copy-to", "new")),
            "--overwrite": With(("--csv", "there.csv")),
            "--index": "new.sqlite",
            "--dask": "tcp://host:8786",
            "--cache": "elsewhere",
            **OUTPUT,
        },
    ),
    "embed": Walk(
        ("photos", "-o", "new.npz"),
        ("edge.embedding.embed:embed", "edge.embedding.table:write_embeddings"),
        {
            **NETWORK,
            **OUTPUT,
            "--output": "other.npz",
            "--bundle": "bundle",
            "--resize": "stretch",
            "--dask": "local",
            "--seed": "3",
            "--overwrite": With(("-o", "there.npz")),
            "--cache": "elsewhere",
        },
    ),
    "similar": Walk(
        ("word", "vectors.txt"),
        (
            "edge.embedding.index:is_word_table",
            "edge.embedding.index:open_index",
            "edge.embedding.words:open_words",
            "edge.embedding.words:similar_words",
        ),
        {"-k": "3", "--exact": FLAG, "--cache": "elsewhere", **OUTPUT},
    ),
    "analogy": Walk(
        ("a", "b", "c", "vectors.txt"),
        (
            "edge.embedding.index:is_word_table",
            "edge.embedding.index:open_index",
            "edge.embedding.words:open_words",
            "edge.embedding.words:analogy",
        ),
        {"-k": "3", "--exact": FLAG, "--cache": "elsewhere", **OUTPUT},
    ),
    "map": Walk(
        ("e.npz", "-o", "new.html"),
        (
            "edge.embedding.table:read_embeddings",
            "edge.embedding.collection_map:make_map",
            "edge.embedding.map_view:map_page",
            "edge.embedding.map_view:draw_map",
            "edge.runtime.place:write_output",
        ),
        {
            "--output": "other.html",
            "--png": "new.png",
            "--points": "50",
            "--near": "0.8",
            "--seed": "3",
            "--overwrite": With(("-o", "there.html")),
            "--cache": "elsewhere",
            **OUTPUT,
        },
    ),
    "benchmark run": Walk(
        ("model.tflite",),
        ("edge.cli.measure.job:measure", "edge.cli.measure.job:compare"),
        {
            **MEASURE,
            **DELEGATE,
            "--accelerator": "all",
            "--cool-down-secs": "2",
            "--against": "other.tflite",
            "--max-regression": With(("--against", "other.tflite"), ("9",)),
            "--profile": FLAG,
            "--delegate": With(("--accelerator", "npu"), ("libdelegate.so",)),
            "--delegate-option": With(("--accelerator", "npu"), ("key=value",)),
            "--require-full-delegation": With(("--accelerator", "gpu")),
        },
    ),
    "benchmark diff": Walk(
        ("old.json", "new.json"),
        ("benchmarks.diff:diff", "benchmarks.outputs.json_file:read_results"),
        {
            "--max-regression": "9",
            "--allow-other-models": FLAG,
            "--no-allow-other-models": With(("--allow-other-models",)),
            "--json": FLAG,
        },
    ),
    "benchmark plot": Walk(
        ("results.json", "-o", "new"),
        ("benchmarks.plots.draw:draw", "benchmarks.outputs.json_file:read_results"),
        {"--output": "elsewhere", "--format": "svg", "--overwrite": FLAG},
    ),
    "zoo run": Walk(
        ("zoo.json",),
        (
            "edge.zoo.results:read_zoo",
            "edge.cli.measure.zoo:write_outputs",
            "edge.cli.measure.zoo:print_zoo",
        ),
        {"--output": "new.md", "--overwrite": With(("-o", "there.md")), "--json": FLAG},
    ),
    "zoo measure": Walk(
        (),
        (
            "edge.zoo.run:run",
            "edge.cli.measure.zoo:write_outputs",
            "edge.cli.measure.zoo:print_zoo",
        ),
        {
            "--models": "MobileNet",
            "--budget": "5m",
            "--weights": "none",
            "--memory-gib": "3",
            "--threads": "7",
            "--seed": "3",
            "--output": "new.json",
            "--overwrite": FLAG,
            **OUTPUT,
        },
    ),
    "accelerators": Walk((), ("benchmarks.survey:survey",), {**DELEGATE, **OUTPUT}),
    "devices": Walk((), (), {"--json": FLAG}),
    "doctor": Walk(
        ("pi@host",),
        (
            "edge.deploy.facts:gather",
            "edge.deploy.findings:findings",
            "edge.deploy.findings:refusals",
            "edge.deploy.findings:guess_profile",
            "edge.deploy.ssh:Remote",
        ),
        {"--device": "raspberry-pi-5", **SSH, "--json": FLAG},
    ),
    "keys new": Walk(
        (),
        ("edge.deploy.keys:new_key",),
        {"--output": "key", "--passphrase": FLAG, "--json": FLAG},
    ),
    "keys show": Walk((), ("edge.deploy.keys:public_key",), {"--key": "key", "--json": FLAG}),
    "sign": Walk(
        ("bundle",),
        ("edge.deploy.signing:sign", "edge.deploy.keys:public_key"),
        {"--key": "key", "--device": "raspberry-pi-5", "--json": FLAG},
    ),
    "verify": Walk(
        ("bundle",),
        ("edge.deploy.signing:verify", "edge.deploy.keys:public_key"),
        {"--key": "key", "--json": FLAG},
    ),
    "deploy": Walk(("bundle", "pi@host"), DEPLOY_JOBS, {**DEPLOY, "--port": "2222"}),
    "fleet deploy": Walk(
        ("bundle", "fleet.toml"),
        (*DEPLOY_JOBS, "edge.deploy.fleet:roll_out"),
        {
            **DEPLOY,
            "--group": "door",
            "--parallel": "2",
            "--canary": "2",
            "--wave": "2",
            "--max-failures": "2",
        },
        {"roll_out": lambda members, one, *_, **__: [one(member) for member in members] and []},
    ),
    "remote-benchmark": Walk(
        ("pi@host", "model.tflite"),
        (
            "benchmarks.models:measured_models",
            "edge.cli.measure.job:measure",
            "edge.deploy.remote_benchmark:place_on",
        ),
        {**MEASURE, **SSH, "--offline": FLAG, "--cache": "elsewhere"},
    ),
    "status": Walk(("pi@host",), ("edge.deploy.deploy:states",), ON_DEVICE),
    "rollback": Walk(
        ("pi@host",),
        ("edge.deploy.deploy:roll_back",),
        {
            **ON_DEVICE,
            "--reason": "foxes",
            "--watch": "3",
            "--selftest-timeout": "9",
            "--quiet": FLAG,
        },
        {"roll_back": ("door", MagicMock())},
    ),
    "logs": Walk(
        ("pi@host",),
        ("edge.deploy.deploy:logs",),
        {**ON_DEVICE, "--lines": "3"},
        {"logs": ("door", Done())},
    ),
    "undeploy": Walk(
        ("pi@host",),
        ("edge.deploy.deploy:take_off",),
        {**ON_DEVICE, "--delete-inbox": FLAG},
        {"take_off": ("door", [])},
    ),
    "cache": Walk(
        (), ("edge.cache:StageCache",), {"--clear": FLAG, "--cache": "elsewhere", "--json": FLAG}
    ),
    "help": Walk((), (), {}),
}
# Sinks that any command may use: what reaches them is part of what a job receives.
SINKS: Final = (
    "edge.cli.output:print_json",
    "edge.cli.make.view:print_report",
    "edge.cli.options:cache_root",
    "edge.cli.terminal:shown_progress",
)
CHECKS: Final = ("edge.runtime.place:check_new_file", "edge.runtime.place:check_folder")


def leaves(command: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by the words that lead to it."""
    inside = getattr(command, "commands", None)
    if inside is None:
        yield " ".join(path), command
        return
    for name, sub in inside.items():
        yield from leaves(sub, *path, name)


LEAVES: Final = dict(leaves(typer.main.get_command(app)))


def options_of(command: Any) -> Iterator[str]:
    """The options of a command; a pair of yes and no are two."""
    for parameter in command.params:
        if parameter.param_type_name == "option" and parameter.name != "help":
            yield parameter.opts[0]
            yield from parameter.secondary_opts


def test_every_option_has_an_entry() -> None:
    assert set(WALKS) == set(LEAVES)
    for name, command in LEAVES.items():
        assert set(options_of(command)) == set(WALKS[name].options), name


@pytest.mark.parametrize("name", LEAVES)
def test_the_help_of_every_command_ends_with_an_example_of_it(name: str) -> None:
    words = name.removesuffix(" run")
    assert f"{LEAVES[name].epilog} ".startswith(f"Example: edge {words} ")


ROOT: Final = Path(__file__).parents[2]
# Options of other programs that edge runs or names in a hint, and of the device's own commands.
OTHERS: Final = {
    *("--all", "--health", "--help"),
    *("--force-reinstall", "--query-gpu", "--set", "--vacuum-size"),
    *("--accelerator-config", "--config", "--list-configs", "--memory-mode", "--output-dir"),
    *("--system-config", "--verbose-performance"),
    # Of rpicam-vid and curl.
    *("--codec", "--flush", "--framerate", "--height", "--list-cameras", "--nopreview"),
    *("--quality", "--timeout", "--width", "--data-binary"),
}


def named_options() -> Iterator[tuple[str, Path]]:
    """The options that strings below the command line name, such as in hints, and their files."""
    for top in ("edge", "benchmarks", "converters", "devices"):
        for path in (ROOT / top).rglob("*.py"):
            inside = path.relative_to(ROOT).as_posix()
            if inside.startswith(("edge/cli", "edge/device", "edge/deploy/wheelhouse")):
                continue
            if inside.startswith("edge/runtime/command"):
                continue  # the device's command line, with options of its own
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+[a-z]", node.value):
                        yield option, path


def test_a_hint_names_no_option_that_is_gone() -> None:
    known = {option for command in LEAVES.values() for option in options_of(command)}
    known |= {name for command in LEAVES.values() for item in command.params for name in item.opts}
    found = dict(named_options())
    assert len(found) > 50
    assert set(found) <= known | OTHERS, {o: str(found[o]) for o in set(found) - known - OTHERS}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the command lines name; recorders write nothing there."""
    tmp_path = tmp_path_factory.mktemp("options")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        _fill(tmp_path)
        yield tmp_path


def _fill(tmp_path: Path) -> None:
    for folder in ("photos", "others", "bundle", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "photos" / "latency.png").write_bytes(b"")
    for name in ("xml", "png", "csv", "npz", "html", "md"):
        (tmp_path / f"there.{name}").write_bytes(b"")
    (tmp_path / "key.pub").write_text("")
    (tmp_path / "fleet.toml").write_text(
        '[groups.all]\nhosts = ["a", "b"]\n[groups.door]\nhosts = ["a"]\n'
    )


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, walk in WALKS.items() for option in walk.options]
)
@pytest.mark.usefixtures("place")
def test_an_option_changes_what_the_job_receives_or_is_refused(name: str, option: str) -> None:
    walk = WALKS[name]
    entry = walk.options[option]
    others = entry.others if isinstance(entry, With) else ()
    value = entry.value if isinstance(entry, With) else entry
    words = (*name.replace(" run", "").split(), *walk.words, *others)
    given = (option, *((value,) if isinstance(value, str) else value))
    without, exit_without = received(name, words)
    with_it, exit_with = received(name, (*words, *given))
    if exit_with == 2 and exit_without != 2:
        return  # refused
    assert (with_it, exit_with) != (without, exit_without), f"{given} is dropped in silence"


@pytest.mark.parametrize(
    ("words", "option"),
    [
        *(
            (f"benchmark m.tflite --against n.tflite {option}", option.split()[0])
            for option in (
                *("--runs 9", "--min-secs 2", "--max-secs 9", "--warm-up-secs 2", "--profile"),
                *("--cool-down-secs 2", "--sustained 1", "--require-full-delegation"),
            )
        ),
        ("benchmark m.tflite --max-regression 5", "--max-regression"),
        ("build photos -o new --mixup 0.2", "--mixup"),
        ("build photos -o new --head knn --epochs 3", "--epochs"),
        ("embed photos -o new.npz --bundle bundle --seed 3", "--seed"),
        ("explain bundle p.jpg -o new --method occlusion --masks 9", "--masks"),
        ("explain bundle p.jpg -o new --method occlusion --seed 9", "--seed"),
        ("explain bundle p.jpg -o new --files-only --layers a", "--layers"),
        ("fewshot photos --methods knn --iterations 9", "--iterations"),
        ("fewshot photos --methods pixels --alpha 0.5", "--alpha"),
        ("fewshot photos --bundle bundle --weights none", "--weights"),
        ("inspect m.tflite --variant tflite-int8", "--variant"),
        ("predict mobilenet p.jpg --variant tflite-int8", "--variant"),
        ("predict bundle p.jpg --cache elsewhere", "--cache"),
        ("tag photos --xmp-name replaced", "--xmp-name"),
        ("tag photos --link", "--link"),
        ("doctor --port 22", "--port"),
        ("doctor --accept-new-host-key", "--accept-new-host-key"),
        ("deploy bundle pi@host --canary 2", "--canary"),
        ("deploy bundle pi@host --group door", "--group"),
        ("deploy bundle --inventory fleet.toml --port 22", "--port"),
        ("benchmark m.tflite --delegate nope.so", "--delegate"),
        ("benchmark m.tflite --delegate nope.so -a gpu,litert-cpu", "--delegate"),
        ("benchmark m.tflite --delegate-option a=b -a litert-cpu", "--delegate-option"),
        ("benchmark m.tflite --require-full-delegation -a cpu", "--require-full-delegation"),
        ("benchmark --zoo --accelerator all", "--accelerator"),
        ("benchmark --zoo --batch 4", "--batch"),
        ("benchmark --zoo --runs 4", "--runs"),
    ],
)
@pytest.mark.usefixtures("place")
def test_an_option_without_effect_is_refused_and_named(words: str, option: str) -> None:
    result = CliRunner().invoke(app, words.split())
    refusal = result.exception
    if isinstance(refusal, UsageError):
        assert option in refusal.message
    else:
        assert result.exit_code == 2
        assert option in result.stderr


FLEET_DEPLOY: Final = "fleet deploy bundle fleet.toml"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("benchmark --zoo --models MobileNet", "zoo measure --models MobileNet"),
        (
            "deploy bundle --inventory fleet.toml --canary 2",
            "fleet deploy bundle fleet.toml --canary 2",
        ),
        ("deploy --inventory=fleet.toml bundle", "fleet deploy bundle fleet.toml"),
        ("deploy bundle --inventory bad.toml --inventory fleet.toml", FLEET_DEPLOY),
        ("deploy bundle --inventory=-x.toml", "fleet deploy bundle -- -x.toml"),
        (
            "deploy --app --inventory bundle --inventory fleet.toml",
            f"{FLEET_DEPLOY} --app=--inventory",
        ),
        ("benchmark --zoo --threads 1,7,2 --seed=3", "zoo measure --threads 7 --seed 3"),
        (
            "benchmark -o a.json --models=MobileNet --zoo -qo b.md",
            "zoo measure -o a.json -o b.md --models MobileNet -q",
        ),
    ],
)
@pytest.mark.usefixtures("place")
def test_an_old_spelling_goes_on_with_a_notice(old: str, new: str) -> None:
    name = " ".join(new.split()[:2])
    assert received(name, tuple(old.split())) == received(name, tuple(new.split()))
    assert f"edge {name}" in CliRunner().invoke(app, [*old.split(), "--help"]).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("benchmark -- --zoo", "no bundle and no model file at --zoo"),
        ("benchmark bundle -o --zoo", "no bundle and no model file at bundle"),
        ("benchmark --zoo=1", "Option '--zoo' does not take a value."),
        ("benchmark --zoo model.tflite", "the zoo builds its own models"),
        ("benchmark --zoo --min-secs 0", "--min-secs has no effect when the zoo is measured"),
        ("benchmark --zoo --against a", "--against has no effect when the zoo is measured"),
        ("benchmark bundle --budget 5m", "edge zoo measure"),
        ("benchmark bundle --models MobileNet", "edge zoo measure"),
        ("deploy bundle --inventory", "Option '--inventory' requires an argument."),
        ("deploy bundle pi@host --inventory fleet.toml", "leave HOST and --port out"),
        ("deploy bundle --inventory fleet.toml --port 22", "leave HOST and --port out"),
        ("deploy --inventory fleet.toml", "no bundle is named"),
        *(
            (f"deploy bundle pi@host {option} 2", "edge fleet deploy")
            for option in ("--canary", "--wave", "--parallel", "--group", "--max-failures")
        ),
    ],
)
@pytest.mark.usefixtures("place")
def test_an_old_spelling_is_no_word_that_only_looks_like_one(words: str, said: str) -> None:
    assert said in refusal(*words.split())


@pytest.mark.usefixtures("place")
def test_a_value_that_is_like_an_old_option_stays_the_value() -> None:
    words = ("deploy", "bundle", "pi@host")
    joined = received("deploy", (*words, "--app=--inventory"))
    assert received("deploy", (*words, "--app", "--inventory")) == joined


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("benchmark bundle -o EMPTY", "--output is empty"),
        ("build photos -o EMPTY", "--output is empty"),
        ("predict EMPTY photo.jpg", "BUNDLE|FILE|NETWORK is empty"),
        ("predict bundle EMPTY", "IMAGES is empty"),
        ("predict bundle a.jpg --csv=EMPTY", "--csv is empty"),
        ("evaluate bundle photos --variant EMPTY", "--variant is empty"),
        ("benchmark bundle --against bundle --max-regression inf", "no finite number"),
        ("benchmark diff a b --max-regression 1e999", "--max-regression '1e999' is no finite"),
        ("build photos -o new --learning-rate inf", "--learning-rate 'inf' is no finite number"),
        ("predict bundle a.jpg --top-k 1_0", "--top-k '1_0' is no whole number"),
        ("predict bundle a.jpg --top-k 1.0", "--top-k '1.0' is no whole number"),
        ("predict bundle a.jpg --top-k ٣", "--top-k '٣' is no whole number"),
        ("benchmark bundle --runs 1.5", "--runs '1.5' is no whole number"),
        ("benchmark bundle --runs 99999999999999999999999", "is too large"),
        ("benchmark bundle --runs 999999999", "--runs"),
        ("benchmark bundle --batch 999999999999", "--batch"),
        ("benchmark bundle --threads 100000000", "--threads '100000000'"),
        ("benchmark bundle --threads 1_0", "--threads '1_0'"),
        ("zoo measure --threads 100000000", "--threads"),
        ("zoo measure --budget 1_0m", "--budget '1_0m'"),
        ("predict bundle a.jpg --threads 99999999", "--threads"),
        ("deploy bundle pi@host --threads 99999999", "--threads"),
    ],
)
@pytest.mark.usefixtures("place")
def test_a_value_that_cannot_be_meant_is_refused(words: str, said: str) -> None:
    assert said in refusal(*(word.replace("EMPTY", "") for word in words.split()))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "compare bundle photos --baseline a --candidate b --policy P --junit P --overwrite",
            "--junit and --policy both name",
        ),
        (
            "compare bundle photos --baseline a --candidate P --markdown P --overwrite",
            "--markdown and --candidate both name",
        ),
        (
            "compare bundle photos --baseline a --candidate b --truth P --sarif P --overwrite",
            "--sarif and --truth both name",
        ),
        ("zoo measured.md -o measured.md --overwrite", "--output and RESULTS both name"),
        ("map P -o m.html --png m.html", "--output and --png both name m.html"),
        ("tag photos --groups there.csv --csv there.csv --overwrite", "--csv and --groups both"),
    ],
)
def test_an_output_that_is_an_input_is_refused(
    words: str, said: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "gate.toml").write_text("the policy")
    (place / "measured.md").write_text("what was measured")
    monkeypatch.setenv("EDGE_CACHE", str(place / "elsewhere"))
    assert said in refusal(*(word if word != "P" else "gate.toml" for word in words.split()))
    assert (place / "gate.toml").read_text() == "the policy"
    assert (place / "measured.md").read_text() == "what was measured"


def refusal(*words: str) -> str:
    """What a command line is refused with; its exit code has to be 2."""
    result = CliRunner().invoke(app, words)
    error = result.exception
    assert getattr(error, "exit_code", result.exit_code) == 2, (words, error, result.output)
    return f"{error} {getattr(error, 'hint', '')} {result.stderr}"


@cache
def received(walked: str, words: Words) -> tuple[list[str], int]:
    """What the recorders and standard output got, and the exit code."""
    walk = WALKS[walked]
    recorder = MagicMock()
    originals: dict[int, Any] = {}
    with ExitStack() as stack:
        for place in (*SINKS, *CHECKS, *walk.jobs):
            module, _, name = place.partition(":")
            target = getattr(recorder, name)
            if place in CHECKS:
                target.side_effect = getattr(importlib.import_module(module), name)
            answer = walk.results.get(name)
            if answer is INCONCLUSIVE:
                target.return_value = inconclusive()
            elif callable(answer):
                target.side_effect = answer
            elif answer is not None:
                target.return_value = answer
            if name == "write_outputs":
                target.return_value.problems = ()
            originals[id(target)] = getattr(importlib.import_module(module), name)
            stack.enter_context(patch(f"{module}.{name}", target))
        result = CliRunner().invoke(app, list(words))
    put_back(originals)
    calls = [plain((name, arguments, named)) for name, arguments, named in recorder.mock_calls]
    return [*calls, re.sub(r"id='\d+'|0x[0-9a-f]+", "", result.stdout)], result.exit_code


def put_back(originals: Mapping[int, Any]) -> None:
    """Give modules that the command imported the functions, of which they took the recorders."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("edge", "benchmarks", "converters", "devices"):
            for attribute, value in list(vars(module).items()):
                if id(value) in originals:
                    setattr(module, attribute, originals[id(value)])


def inconclusive() -> Any:
    from edge.comparison.result import Verdict

    return MagicMock(verdict=Verdict.INCONCLUSIVE, checks=[], labelled=1)


def plain(value: Any) -> str:
    """A value as text that is the same in each run: no address, no name of a mock."""
    if is_dataclass(value) and not isinstance(value, type):
        inside = ((item.name, getattr(value, item.name)) for item in fields(value))
        return f"{type(value).__name__}({', '.join(f'{k}={plain(v)}' for k, v in inside)})"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(plain, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{plain(k)}: {plain(v)}' for k, v in value.items())}}}"
    return "mock" if isinstance(value, MagicMock) else re.sub(r"0x[0-9a-f]+", "", repr(value))
