"""The root command, and the one place where errors become messages and exit codes."""

import sys
from typing import Annotated

import typer

import edge
from edge.cli import (
    accelerators,
    benchmark,
    build,
    cache,
    compare,
    dataset,
    diagnose,
    evaluate,
    export,
    inspect,
    predict,
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
app.command("evaluate", epilog=evaluate.EPILOG)(evaluate.evaluate)
app.command("compare", epilog=compare.EPILOG)(compare.compare)
app.command("diagnose", epilog=diagnose.EPILOG)(diagnose.diagnose)
app.command("predict", epilog=predict.EPILOG)(predict.predict)
app.command("inspect", epilog=inspect.EPILOG)(inspect.inspect)
app.add_typer(benchmark.app, name="benchmark", help="Time models on this machine.")
app.command("zoo", epilog=zoo.EPILOG)(zoo.zoo)
app.command("accelerators", epilog=accelerators.EPILOG)(accelerators.accelerators)
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
    sys.exit(code if isinstance(code, int) else 0)
