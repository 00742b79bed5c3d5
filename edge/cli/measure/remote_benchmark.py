"""``edge remote-benchmark``."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.protocol import TIMEOUT_SECONDS
from edge.cli import options as shared
from edge.cli.deploy import options as hosts
from edge.cli.help import example
from edge.cli.measure import options as measuring


@example("edge remote-benchmark pi@raspberrypi.local bundle --threads 1,4 -o pi.json")
def remote_benchmark(
    host: hosts.Host,
    models: Annotated[
        list[Path],
        typer.Argument(help="Folders of bundles, or .tflite or .onnx files.", show_default=False),
    ],
    variant: measuring.Variants = None,
    threads: measuring.Threads = "1",
    batch: measuring.Batch = 1,
    input_shape: measuring.InputShapes = None,
    runs: measuring.Runs = measuring.STANDARD.runs,
    min_secs: measuring.MinSeconds = measuring.STANDARD.min_seconds,
    max_secs: measuring.MaxSeconds = measuring.STANDARD.max_seconds,
    warm_up_secs: measuring.WarmUpSeconds = measuring.STANDARD.warm_up_seconds,
    images: measuring.Images = None,
    sustained: measuring.Sustained = 0.0,
    timeout_secs: measuring.Timeout = TIMEOUT_SECONDS,
    seed: measuring.Seed = 0,
    output: measuring.Outputs = None,
    overwrite: measuring.Overwrite = False,
    port: hosts.Port = None,
    ssh_config: hosts.SshConfig = None,
    accept_new_host_key: hosts.AcceptNewHostKey = False,
    offline: hosts.Offline = False,
    cache: shared.Cache = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Time models on the CPU of a device, as edge benchmark does, over ssh.

    Nothing has to be deployed there: wheels are sent along. The results say which board it is, and
    edge benchmark diff compares them with others.
    """
    from dataclasses import replace

    from benchmarks.accelerators.base import EngineSettings
    from benchmarks.input_shape import parse_shapes
    from benchmarks.models import measured_models
    from benchmarks.plan import BenchmarkPlan
    from benchmarks.protocol import Protocol
    from edge.cli.measure.job import BenchmarkJob, counts, measure, pictures
    from edge.cli.terminal import shown_progress
    from edge.deploy.remote_benchmark import place_on
    from edge.runtime.session import model_format

    plan = BenchmarkPlan(
        threads=counts(threads),
        settings=EngineSettings(batch=batch, shapes=parse_shapes(input_shape or ())),
        protocol=Protocol(
            runs=runs, min_seconds=min_secs, max_seconds=max_secs, warm_up_seconds=warm_up_secs
        ),
        pictures=pictures(images),
        sustained_seconds=60 * sustained,
        seed=seed,
        timeout=timeout_secs,
    )
    job = BenchmarkJob(
        models=tuple(models),
        variants=tuple(variant or ()),
        outputs=tuple(output or ()),
        plan=plan,
        progress=shown_progress(quiet=quiet),
        json=json,
        overwrite=overwrite,
    )
    where = hosts.address(host, port, ssh_config, accept_new_host_key)
    formats = {model_format(model.path) for model in measured_models(job.models, job.variants)}
    with place_on(
        where,
        formats,
        cache=shared.cache_root(cache),
        offline=offline,
        progress=job.progress,
    ) as place:
        measure(replace(job, plan=replace(plan, machine=place)))
