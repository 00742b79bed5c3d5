"""One pass of a model file over many images, spread over the workers of a Dask cluster.

The images are named by their paths, so every worker has to see the same files under the same paths.
The content of the model file travels once to each worker. A worker runs an image the way that
``run_images`` does, so that on processors of one kind the answers are the same bit for bit.
"""

import atexit
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from edge.dataset.pictures import Hashed
from edge.errors import (
    ConnectionFailed,
    DataError,
    EdgeError,
    InferenceError,
    UsageError,
    cause_of,
    missing_package,
)
from edge.evaluation.predictions import Answer, run_images
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file, write_bytes
from edge.runtime.session import open_session
from edge.threads import deferred_interrupt
from edge.versions import versions

LOCAL: Final = "local"
BATCH: Final = 16  # images of one task
AHEAD: Final = 4  # tasks that wait for each thread of the cluster
TIMEOUT: Final = 10.0  # seconds for a scheduler to answer, and for its first worker to be there


@dataclass(frozen=True, slots=True)
class ModelPass:
    """What all tasks of a pass share, besides the content of the model.

    Attributes:
        suffix: The suffix of the model file, which tells its format.
        sha256: The digest of the model file, hex.
        preprocessing: The contract.
    """

    suffix: str
    sha256: str
    preprocessing: Preprocessing


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A file that a worker does not see, or sees with another content."""

    path: str
    host: str


def run_on_cluster(
    address: str, model: Path, images: Sequence[Hashed], preprocessing: Preprocessing
) -> Iterator[Answer]:
    """Yield answers in the order in which they are ready.

    Args:
        address: ``tcp://HOST:PORT`` of a Dask scheduler, or ``local`` for worker processes on
            this machine, one for each core.
        model: A .tflite or .onnx file.
        images: The images to read; the workers have to see them under the same paths.
        preprocessing: The contract.

    Raises:
        UsageError: ``distributed`` is not installed, the address is not one, or a worker has other
            versions of the packages that decide the numbers.
        ConnectionFailed: There is no scheduler, or it has no workers, or it went away.
        DataError: A worker sees another file under the path of an image, or none.
        ModelLoadError: The model does not load.
        InferenceError: The model failed, or a worker died of it.
    """
    open_session(model)  # a broken model is an error of this process, not of a worker
    if not images:
        return
    job = ModelPass(model.suffix, sha256_file(model), preprocessing)
    with connected(address) as client:
        _check_workers(client)
        content = client.scatter(model.read_bytes(), broadcast=True)
        for start, answers in _results(client, content, job, images):
            for answer in answers:
                yield Answer(start + answer.position, answer.values, answer.problem)


def check_address(address: str) -> None:
    """Refuse what cannot be an address, without a connection, before work that takes long.

    Raises:
        PackageMissing: ``distributed`` is not installed.
        UsageError: The text is not an address.
    """
    try:
        from distributed.comm import get_address_host_port
    except ImportError as error:
        raise (missing_package(error) or error) from None
    if address != LOCAL:
        try:
            get_address_host_port(address)
        except ValueError as error:
            raise _no_address(address, error) from error


def _no_address(address: str, error: Exception) -> UsageError:
    return UsageError(
        f"--dask {address} is not an address: {error}",
        hint="Use tcp://HOST:PORT of a Dask scheduler, or local.",
    )


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to a cluster that has a worker; close the client, and a local cluster, at the end.

    Raises:
        PackageMissing: ``distributed`` is not installed.
        UsageError: The text is not an address.
        ConnectionFailed: There is no scheduler, or it has no workers.
    """
    check_address(address)
    from distributed import LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        try:
            where = address
            if address == LOCAL:
                with deferred_interrupt():  # a half-started cluster would leave processes behind
                    cluster = LocalCluster(
                        n_workers=os.cpu_count() or 1, threads_per_worker=1, dashboard_address=None
                    )
                    where = stack.enter_context(cluster)
            client = stack.enter_context(_client(where))
            client.wait_for_workers(1, timeout=TIMEOUT)
        except (ValueError, TypeError) as error:  # for example, TLS without certificates
            raise _no_address(address, error) from error
        except OSError as error:  # TimeoutError is one
            raise ConnectionFailed(
                f"no Dask scheduler with a worker answers at {address}",
                hint="Start them with: dask scheduler, and on each machine: "
                f"dask worker {address}; or use --dask local.",
            ) from error
        yield client


def _client(address: str) -> Any:
    """Start a client; its errors are those of ``distributed.Client``.

    A client whose start fails is closed here. If it were left to the garbage collector, it could
    stop its loop within the start of another client, which would wait for it forever (seen with
    distributed 2026.8).
    """
    from distributed import Client

    client: Any = Client.__new__(Client)  # known before it starts
    try:
        client.__init__(address, timeout=TIMEOUT)
    except BaseException:
        client.__del__()
        raise
    return client


def _check_workers(client: Any) -> None:
    """Refuse workers whose packages can lead to other numbers."""
    here = versions()
    try:
        by_worker: dict[str, dict[str, str]] = client.run(versions)
    except Exception as error:  # whatever unpickling on a machine without edge raises
        raise UsageError(
            f"a worker cannot run edge: {error}",
            hint="Install the same edge-pipeline on every worker.",
        ) from error
    for worker, there in by_worker.items():
        other = [name for name in here if there.get(name) != here[name]]
        if other:
            name = other[0]
            raise UsageError(
                f"the worker {worker} has {name} {there.get(name)}, here it is {here[name]}: the "
                "answers would not be the same",
                hint="Install the same versions on every worker.",
            )


def _results(
    client: Any, content: Any, job: ModelPass, images: Sequence[Hashed]
) -> Iterator[tuple[int, list[Answer]]]:
    """Yield (position of the first image, answers) of each task, as they come."""
    from distributed import as_completed

    batches = iter(range(0, len(images), BATCH))
    starts: dict[str, int] = {}

    def submit(start: int) -> Any:
        files = [(os.path.abspath(item.path), item.sha256) for item in images[start:][:BATCH]]  # noqa: PTH100
        future = client.submit(answer_batch, content, job, files, pure=False)
        starts[future.key] = start
        return future

    threads = sum(client.nthreads().values())
    # Nothing else holds the futures, so the cluster forgets each result when it is taken.
    ready = as_completed([submit(start) for start in islice(batches, AHEAD * threads)])
    for future in ready:
        result = _result(future)
        for start in islice(batches, 1):
            ready.add(submit(start))
        yield starts.pop(future.key), result


def _result(future: Any) -> list[Answer]:
    try:
        result: list[Answer] | Mismatch = future.result()
    except EdgeError:
        raise
    except OSError as error:
        raise ConnectionFailed(f"the Dask cluster went away: {cause_of(error)}") from error
    except Exception as error:  # KilledWorker, or anything that the worker's Python raised
        raise InferenceError(
            f"a task failed on the cluster: {error}",
            hint="Run the same command again; what was computed is kept.",
        ) from error
    if isinstance(result, Mismatch):
        raise DataError(
            f"the worker on {result.host} does not see the file {result.path} that is seen here",
            hint="The images have to lie on a file system that every worker mounts at the same "
            "place.",
        )
    return result


def answer_batch(
    content: bytes, job: ModelPass, files: Sequence[tuple[str, str]]
) -> list[Answer] | Mismatch:
    """Answer some images, on the worker.

    Args:
        content: The content of the model file.
        job: The rest of what all tasks share.
        files: The path and the sha256 (hex) of each image.

    Raises:
        InferenceError: The model arrives damaged, or fails.
    """
    model = _model_file(content, job)
    for path, digest in files:
        try:
            same = sha256_file(Path(path)) == digest
        except OSError:
            same = False
        if not same:
            return Mismatch(path, os.uname().nodename)
    return list(run_images(model, [Path(path) for path, _ in files], job.preprocessing, workers=1))


_MODELS: dict[str, Path] = {}  # the files of this worker process, by sha256


def _model_file(content: bytes, job: ModelPass) -> Path:
    """Return the model as a file of this process, which is written once."""
    if job.sha256 not in _MODELS:
        if hashlib.sha256(content).hexdigest() != job.sha256:
            raise InferenceError("the model file arrived damaged at the worker")
        folder = Path(tempfile.mkdtemp(prefix="edge-worker-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        write_bytes(folder / f"model{job.suffix}", content)
        _MODELS[job.sha256] = folder / f"model{job.suffix}"
    return _MODELS[job.sha256]
