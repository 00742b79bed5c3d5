"""The runtime's commands beside watch and selftest."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from edge.cli.app import app
from edge.errors import OutputError
from edge.runtime.command_line import COMMANDS, main
from edge.runtime.commands import predict
from edge.runtime.timing import summary, timed
from tests.unit.golden_bundle import LABELS, golden_bundle

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden_bundle(tmp_path_factory.mktemp("commands") / "bundle")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert f"Example: python3 -m edge.runtime {command} " in said
    assert "--json" in said


def test_a_command_loads_only_what_it_needs() -> None:
    program = (
        "import sys\nfrom edge.runtime.command_line import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print(*sorted(name for name in sys.modules if name.startswith(('edge.', 'numpy.'))))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, "info", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(result.stdout.splitlines()[-1].split())
    assert "edge.runtime.commands.info" in loaded
    others = {f"edge.runtime.commands.{name}" for name in COMMANDS} - {"edge.runtime.commands.info"}
    assert not loaded & {
        *others,
        "edge.runtime.watch",
        "edge.runtime.commands.bench",
        "edge.runtime.golden",
    }


def test_an_answer_of_a_classifier_loads_only_what_it_needs(bundle: Path, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (20, 20)).save(picture)
    program = (
        "import sys\nfrom edge.runtime.command_line import main\n"
        "assert main(sys.argv[1:]) == 0\nprint(*sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, "predict", str(bundle), str(picture)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    answer, modules = result.stdout.splitlines()
    assert answer.startswith(f"{picture}: ")
    # Each takes more of a small device's time than its part of the answer would.
    spared = {"numpy.ma", "edge.runtime.tasks.table", "edge.runtime.refusal", "edge.runtime.place"}
    assert not spared & set(modules.split())


@pytest.mark.parametrize("given", [None, "2"])
@pytest.mark.parametrize("own", [True, False], ids=["own process", "of a caller"])
def test_a_prediction_starts_no_threads_for_matrix_products(
    bundle: Path, tmp_path: Path, own: bool, given: str | None
) -> None:
    """The number is set while numpy is imported, and only in a process that is the command's."""
    picture = tmp_path / "a.png"
    Image.new("RGB", (20, 20)).save(picture)
    program = (
        "import os, sys\n"
        "from edge.runtime import command_line\n"
        "command_line.supervise = lambda: None\n"
        "class Look:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'numpy': print(os.environ.get('OPENBLAS_NUM_THREADS'))\n"
        "sys.meta_path.insert(0, Look())\n"
        f"assert command_line.main({'' if own else 'sys.argv[1:]'}) == 0\n"
        "print(os.environ.get('OPENBLAS_NUM_THREADS'))\n"
    )
    environ = {name: it for name, it in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    result = subprocess.run(
        [sys.executable, "-c", program, "predict", str(bundle), str(picture), "--threads", "1"],
        cwd=ROOT,
        env=environ if given is None else environ | {"OPENBLAS_NUM_THREADS": given},
        capture_output=True,
        text=True,
        check=True,
    )
    during, _, after = result.stdout.splitlines()
    assert during == (given or ("1" if own else "None"))
    assert after == str(given)


@pytest.mark.parametrize("words", [["predict"], ["bench", "x"], ["--help"], ["predikt"], []])
def test_a_command_that_is_named_or_not_is_answered(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the parser of the named command is made; help and what is mistyped know all."""
    try:
        code = main(words)
    except SystemExit as error:
        code = int(error.code or 0)
    said = "".join(capsys.readouterr())
    assert code == (0 if words == ["--help"] else 2)
    if words == ["--help"]:
        assert all(f"  {name} " in said for name in COMMANDS)
    if words == ["predikt"]:
        assert "Did you mean predict?" in said


def test_bench(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle), "--runs", "5", "--threads", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    steps = found["steps"]
    assert list(steps) == ["decode", "preprocess", "invoke", "postprocess", "end to end"]
    for step in steps.values():
        assert step["runs"] == 5
        assert 0 < step["min"] <= step["p50"] <= step["p90"] <= step["p99"] < 5
    # Against the shortest step: they are timed one after another, and a machine may be busy.
    assert steps["end to end"]["min"] > steps["postprocess"]["min"]
    assert found["load"] > 0
    assert found["decoded"] == [80, 60]  # 640 x 480 at an eighth still covers 16 x 16 twice
    assert found["peak_memory_bytes"] >= found["resident_memory_bytes"] > 1e7


def test_bench_of_a_picture(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "picture.png"
    Image.new("RGB", (50, 40)).save(path)
    assert main(["bench", str(bundle), "--runs", "3", "--image", str(path)]) == 0
    assert "decoded to 50 x 40" in capsys.readouterr().out
    for content in (b"", None):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        assert main(["bench", str(bundle), "--image", str(path)]) == 2
        assert "picture.png" in capsys.readouterr().err


def test_predict_and_a_name_of_any_bytes(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "caf\udce9.png"  # Latin-1 in the file system
    Image.new("RGB", (20, 20), (0, 0, 255)).save(str(path), "PNG")
    assert main(["predict", str(bundle), str(path), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["image"].endswith("caf\ufffd.png")
    assert answer["categories"][0]["index"] == 2


@pytest.fixture(scope="module")
def photos(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures in folders, one broken, a text, a hidden picture, a bundle and a loop."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "b" / "c").mkdir(parents=True)
    for name, colour in (("a.png", 0), ("b/b.JPG", 1), ("b/c/c.png", 2), (".hidden.png", 0)):
        value = [0, 0, 0]
        value[colour] = 200
        Image.new("RGB", (20, 20), tuple(value)).save(folder / name)
    (folder / "b" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "notes.txt").write_text("not a picture")
    shutil.copytree(bundle, folder / "model")
    (folder / "b" / "again").symlink_to(folder)
    return folder


def test_predict_answers_folders_and_goes_on_after_a_broken_picture(
    bundle: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = photos / "missing.png"
    empty = photos.parent / "empty"
    empty.mkdir()
    asked = [str(photos / "a.png"), str(missing), str(photos), str(empty)]
    assert main(["predict", str(bundle), *asked, "--json"]) == 2
    out, err = capsys.readouterr()
    answers = json.loads(out)
    inside = ["a.png", "b/b.JPG", "b/broken.png", "b/c/c.png"]
    assert [answer["image"] for answer in answers] == [
        str(photos / "a.png"),
        str(missing),
        *[str(photos / name) for name in inside],
        str(empty),
    ]
    best = [
        answer["categories"][0]["index"] if "error" not in answer else None for answer in answers
    ]
    assert best == [0, None, 0, 1, None, 2, None]
    assert "notes.txt" not in out
    assert ".txt 1" in err
    assert f"{photos / 'model'} was written by edge" in err
    assert "3 of 7 pictures" in err


def test_predict_writes_a_table_and_replaces_none_unasked(
    bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "answers.csv"
    command = ["predict", str(bundle), str(photos), "--top-k", "2", "--csv", str(table)]
    assert main(command) == 2
    assert capsys.readouterr().out == ""
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [Path(row["image"]).name for row in rows] == ["a.png", "b.JPG", "broken.png", "c.png"]
    assert [row["label_1"] for row in rows] == [LABELS[0], LABELS[1], "", LABELS[2]]
    assert [bool(row["error"]) for row in rows] == [False, False, True, False]
    assert all(
        0 <= float(row["score_2"]) <= float(row["score_1"]) <= 1 for row in rows if row["score_1"]
    )
    before = table.read_bytes()
    for place in (table, tmp_path / "nowhere" / "a.csv", tmp_path):
        # A bundle that is missing is not even looked for: the place is checked before.
        assert main(["predict", str(tmp_path / "none"), "x.png", "--csv", str(place)]) == 2
        assert str(place) in capsys.readouterr().err
    assert table.read_bytes() == before
    assert main([*command, "--overwrite", "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)) == 4
    assert main(["predict", str(bundle), str(photos / "a.png"), "--csv", "-"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["label_1"] == LABELS[0]
    assert main(["predict", str(bundle), str(photos / "a.png"), "--csv", "-", "--json"]) == 2


def test_predict_answers_one_picture_of_standard_input(bundle: Path, photos: Path) -> None:
    def piped(content: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "edge.runtime", "predict", str(bundle), *words]
        return subprocess.run(command, cwd=ROOT, input=content, capture_output=True, check=False)

    done = piped((photos / "b" / "b.JPG").read_bytes(), "-", str(photos / "a.png"), "--json")
    assert done.returncode == 0
    answers = json.loads(done.stdout)
    assert [(item["image"], item["categories"][0]["index"]) for item in answers] == [
        ("-", 1),
        (str(photos / "a.png"), 0),
    ]
    assert piped(b"", "-").returncode == 2
    assert b"twice" in piped(b"", "-", "-").stderr


def test_long_work_tells_how_far_it_is(
    bundle: Path,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["predict", str(bundle), str(photos), "--json"]
    monkeypatch.setattr(predict, "SILENT_SECONDS", 60.0)
    main(command)
    assert "3 of 4 pictures\n" not in capsys.readouterr().err
    monkeypatch.setattr(predict, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(predict, "EVERY_SECONDS", 0.0)
    main(command)
    assert "3 of 4 pictures\n" in capsys.readouterr().err
    main([*command, "--quiet"])
    assert "3 of 4 pictures\n" not in capsys.readouterr().err


def test_a_line_is_one_picture(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "two\nlines.png"
    Image.new("RGB", (20, 20)).save(path)
    assert main(["predict", str(bundle), str(path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_host_answers_folders_and_tables_as_the_device_does(
    bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["predict", str(bundle), str(photos), "--csv"]
    assert main([*arguments, str(tmp_path / "device.csv")]) == 2
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "host.csv")])
    assert result.exit_code == 2
    assert (tmp_path / "host.csv").read_text() == (tmp_path / "device.csv").read_text()


@pytest.mark.parametrize("option", ["--threads", "--top-k"])
def test_a_count_below_one(bundle: Path, option: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["predict", str(bundle), "picture.png", option, "0"])
    assert caught.value.code == 2


def test_a_reader_that_goes_away(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.new("RGB", (20, 20)).save(path)
    command = [sys.executable, "-m", "edge.runtime", "predict", str(bundle), *[str(path)] * 400]
    with subprocess.Popen(
        [*command, "--json"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 0
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_network_is_not_converted_for_pictures_that_are_not_there(
    form: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(*_: object) -> None:
        raise AssertionError("it is converted")

    monkeypatch.setattr("edge.embedding.imagenet.imagenet_classifier", convert)
    cache = ["--cache", str(tmp_path / "cache")]
    words = ["predict", "mobilenet", "nosuch.jpg", "no/such.png", *cache, *form]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "nosuch.jpg: the file cannot be read" in result.output
    assert "no/such.png: the file cannot be read" in result.output


def test_a_network_is_not_converted_without_a_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Image.new("RGB", (20, 20)).save(tmp_path / "picture.png")
    words = ["predict", "mobilenet", str(tmp_path / "picture.png"), "--cache"]
    with pytest.raises(OutputError, match="is no folder"):
        CliRunner().invoke(app, [*words, str(tmp_path / "file")], catch_exceptions=False)


@pytest.mark.parametrize("module", ["edge", "edge.runtime"])
def test_a_name_that_is_too_long(module: str, bundle: Path, tmp_path: Path) -> None:
    long, path = "x" * 300, tmp_path / "picture.png"
    Image.new("RGB", (20, 20)).save(path)
    for words, answers in (
        (["predict", bundle, long, path], 1),
        (["predict", bundle, path, "--csv", f"{long}.csv"], 0),
        (["predict", long, path], 0),
    ):
        command = [sys.executable, "-m", module, *map(str, words)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert "File name too long" in done.stderr
        assert "bug of edge" not in done.stderr and "Traceback" not in done.stderr
        assert done.stdout.count("\n") == answers


# ---- measuring


def test_timed_counts_and_stops() -> None:
    calls: list[int] = []
    assert len(timed(lambda: calls.append(1), runs=4, warm_up=2)) == 4
    assert len(calls) == 6
    assert len(timed(lambda: None, runs=10**9, most_seconds=0.01)) >= 3
    assert len(timed(lambda: None, runs=10, most_seconds=-1.0)) == 3


def test_percentiles() -> None:
    found = summary([float(value) for value in range(101)])
    assert found == {"runs": 101, "min": 0.0, "p50": 50.0, "p90": 90.0, "p99": 99.0}


def test_memory_is_that_of_this_process() -> None:
    # A process of its own: in that of the tests, what other threads give back meanwhile counts.
    program = (
        "from edge.runtime.timing import peak_memory, resident_memory\n"
        "before = resident_memory()\n"
        "held = bytearray(b'x') * 60_000_000\n"
        "print(before, resident_memory())\n"
        "del held\n"
        "print(resident_memory(), peak_memory())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    before, during, after, peak = map(int, result.stdout.split())
    assert during - before > 50_000_000
    assert after < during - 50_000_000
    assert peak - before > 50_000_000
