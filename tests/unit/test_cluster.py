"""A Dask cluster of two worker processes on this machine, and one pass of a model over it."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.cache import StageCache
from edge.dataset.pictures import Picture
from edge.embedding.features import Features, extract
from edge.errors import ConnectionFailed, DataError, InferenceError, ModelLoadError, UsageError
from edge.evaluation import cluster as module
from edge.evaluation.cluster import ModelPass, answer_batch, run_on_cluster
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file

distributed = pytest.importorskip("distributed")

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests/data/channels_fp32.tflite"
SPEC = Preprocessing(height=16, width=16)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    found = []
    for number in range(70):
        path = folder / f"{number:02}.png"
        Image.fromarray(random.integers(0, 256, (24, 20, 3), np.uint8)).save(path)
        if number == 33:
            path.write_bytes(path.read_bytes()[:50])
        found.append(Picture(path, sha256_file(path)))
    return found


def run(pictures: list[Picture], root: Path, dask: str | None) -> tuple[Features, int]:
    told: list[int] = []
    found = extract(MODEL, pictures, SPEC, cache=StageCache(root), step=told.append, dask=dask)
    return found, sum(told)


def loops() -> set[threading.Thread]:
    """Threads in which a cluster or a client of ``distributed`` runs."""
    return {thread for thread in threading.enumerate() if thread.name == "IO loop"}


def test_the_cluster_gives_the_same_bits(
    address: str, pictures: list[Picture], tmp_path: Path
) -> None:
    here, _ = run(pictures, tmp_path / "here", None)
    there, told = run(pictures, tmp_path / "there", address)
    assert np.array_equal(here.vectors, there.vectors)
    assert len(there.vectors) == 69
    assert there.problems == here.problems
    assert [*there.problems] == [pictures[33].path]
    assert told == 70


def test_both_workers_work(address: str, pictures: list[Picture], tmp_path: Path) -> None:
    with distributed.Client(address) as client:
        before = client.run(lambda: len(module._MODELS))
        run(pictures, tmp_path, address)
        after = client.run(lambda: [path.is_file() for path in module._MODELS.values()])
    assert len(before) == len(after) == 2
    assert [*after.values()] == [[True], [True]]  # the model is there once, on each


def test_a_pass_goes_on_where_another_ended(
    address: str, pictures: list[Picture], tmp_path: Path
) -> None:
    run(pictures[:40], tmp_path, address)
    found, _ = run(pictures, tmp_path, address)
    assert found.reused == 39
    again, _ = run(pictures, tmp_path, None)  # what the cluster computed counts here too
    assert again.reused == 69
    assert np.array_equal(again.vectors, found.vectors)


def test_another_file_on_the_worker_is_an_error(
    address: str, pictures: list[Picture], tmp_path: Path
) -> None:
    other = [Picture(pictures[0].path, "0" * 64)]
    with pytest.raises(DataError, match="does not see the file") as caught:
        run(other, tmp_path, address)
    assert "every worker mounts" in caught.value.hint


def test_workers_with_other_versions_are_refused(
    address: str, pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.versions.PACKAGES", ("numpy", "rich"))
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.1")
    with pytest.raises(UsageError, match=r"the worker .* has numpy .*, here it is 0\.1"):
        run(pictures, tmp_path, address)


def test_no_cluster_there(
    pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionFailed, match="no Dask scheduler with a worker answers") as caught:
        run(pictures, tmp_path, f"tcp://127.0.0.1:{port}")
    assert "dask worker" in caught.value.hint


@pytest.mark.parametrize("text", ["nowhere", "tcp://host:port", "", "tls://127.0.0.1:9"])
def test_no_address(pictures: list[Picture], tmp_path: Path, text: str) -> None:
    before = loops()
    with pytest.raises(UsageError, match="is not an address"):
        run(pictures, tmp_path, text)
    assert loops() <= before  # none is new: a client that is left behind may hang the next one


def test_a_broken_model_is_found_before_the_cluster_is_asked(
    pictures: list[Picture], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    with pytest.raises(ModelLoadError):
        list(run_on_cluster("tcp://127.0.0.1:9", broken, pictures, SPEC))


def test_no_images_need_no_cluster() -> None:
    assert list(run_on_cluster("tcp://127.0.0.1:9", MODEL, [], SPEC)) == []


def test_a_damaged_model_is_refused_by_the_worker(pictures: list[Picture]) -> None:
    job = ModelPass(suffix=".tflite", sha256="0" * 64, preprocessing=SPEC)
    with pytest.raises(InferenceError, match="arrived damaged"):
        answer_batch(MODEL.read_bytes(), job, [(str(pictures[0].path), pictures[0].sha256)])
