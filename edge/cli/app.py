"""The root command, and the one place where errors become messages and exit codes."""

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import Annotated

import typer

import edge
from edge.cli import (
    accelerators,
    analogy,
    benchmark,
    build,
    cache,
    compare,
    dataset,
    deploy,
    devices,
    diagnose,
    doctor,
    embed,
    evaluate,
    explain,
    export,
    fewshot,
    inspect,
    keys,
    logs,
    map,
    predict,
    remote_benchmark,
    reproduce,
    rollback,
    sign,
    similar,
    status,
    tag,
    undeploy,
    verify,
    zoo,
)
from edge.cli.terminal import INTERRUPTED, captured_native_output, report_error, report_unexpected
from edge.errors import EdgeError

app = typer.Typer(
    name="edge",
    help="From a folder of photos to a verified model on an embedded device.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("build", epilog=build.EPILOG)(build.build)
app.command("export", epilog=export.EPILOG)(export.export)
app.command("reproduce", epilog=reproduce.EPILOG)(reproduce.reproduce)
app.command("evaluate", epilog=evaluate.EPILOG)(evaluate.evaluate)
app.command("compare", epilog=compare.EPILOG)(compare.compare)
app.command("diagnose", epilog=diagnose.EPILOG)(diagnose.diagnose)
app.command("fewshot", epilog=fewshot.EPILOG)(fewshot.fewshot)
app.command("predict", epilog=predict.EPILOG)(predict.predict)
app.command("embed", epilog=embed.EPILOG)(embed.embed)
app.command("similar", epilog=similar.EPILOG)(similar.similar)
app.command("analogy", epilog=analogy.EPILOG)(analogy.analogy)
app.command("map", epilog=map.EPILOG)(map.map)
app.command("explain", epilog=explain.EPILOG)(explain.explain)
app.command("tag", epilog=tag.EPILOG)(tag.tag)
app.command("inspect", epilog=inspect.EPILOG)(inspect.inspect)
app.add_typer(benchmark.app, name="benchmark", help="Time models on this machine.")
app.command("zoo", epilog=zoo.EPILOG)(zoo.zoo)
app.command("accelerators", epilog=accelerators.EPILOG)(accelerators.accelerators)
app.add_typer(keys.app, name="keys")
app.command("sign", epilog=sign.EPILOG)(sign.sign)
app.command("verify", epilog=verify.EPILOG)(verify.verify)
app.command("devices", epilog=devices.EPILOG)(devices.devices)
app.command("doctor", epilog=doctor.EPILOG)(doctor.doctor)
app.command("deploy", epilog=deploy.EPILOG)(deploy.deploy)
app.command("remote-benchmark", epilog=remote_benchmark.EPILOG)(remote_benchmark.remote_benchmark)
app.command("status", epilog=status.EPILOG)(status.status)
app.command("rollback", epilog=rollback.EPILOG)(rollback.rollback)
app.command("logs", epilog=logs.EPILOG)(logs.logs)
app.command("undeploy", epilog=undeploy.EPILOG)(undeploy.undeploy)
app.command("cache", epilog=cache.EPILOG)(cache.cache)
app.add_typer(dataset.app, name="dataset")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"edge {edge.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """From a folder of photos to a verified model on an embedded device."""


def main() -> None:
    """Run the command line; every expected error ends as a message and an exit code."""
    interrupted = threading.Event()
    atexit.register(_leave_as_interrupted, interrupted)  # first registered, called last
    with captured_native_output() as log:
        try:
            code = app(standalone_mode=False)
            if code == INTERRUPTED:  # typer turns Ctrl-C into this and says nothing
                code = report_error(KeyboardInterrupt())
        except EdgeError as error:
            code = report_error(error)
        except (KeyboardInterrupt, typer.Abort):
            code = report_error(KeyboardInterrupt())
        except Exception as error:
            code = report_unexpected(error, log)
    if code == INTERRUPTED:
        interrupted.set()
    sys.exit(code if isinstance(code, int) else 0)


def _leave_as_interrupted(interrupted: threading.Event) -> None:
    """End with 130 after Ctrl-C, when threads have ended and everybody else has cleaned up.

    Where Ctrl-C hits Python code that a C extension runs (TensorFlow's do), CPython remembers an
    unhandled KeyboardInterrupt and ends the process by SIGINT instead of the code that
    ``sys.exit`` was given, once in some twenty times.
    """
    if interrupted.is_set():
        with suppress(OSError):  # a pipe whose reader has gone
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
