"""Own layers: a Python file that the user names defines them, and the computation is kept.

The code runs in a process of its own, which writes the network as a SavedModel. Its graph becomes
one layer, so that neither converters nor a later process need the code.
"""

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from edge.errors import MeasurementError, ModelLoadError, UsageError
from edge.runtime.files import readable
from edge.workers import Message, WorkerLimits, answer, answers

OPTION: Final = "--custom-objects"
MODULE: Final = "custom_objects"  # name of the code, once it is imported
SECONDS: Final = 1800.0  # until a process is killed that does not end
HINT: Final = (
    "Register each class there with @keras.saving.register_keras_serializable(package=...) as it "
    "was when the file was saved. Or write model.export(FOLDER) where the network was made, and "
    "give edge that folder."
)


def check_code(path: Path) -> None:
    """Refuse what is no Python file.

    Raises:
        UsageError: It is none.
    """
    if path.suffix != ".py" or not path.is_file():
        state = "is no Python file" if path.exists() else "does not exist"
        raise UsageError(
            f"{OPTION} {readable(path)} {state}",
            hint="Name a .py file that defines the network's own layers. Its code is run.",
        )


def export_with(code: Path, model: Path, folder: Path) -> None:
    """Write a Keras file as a SavedModel, its own layers taken from a Python file that is run.

    Raises:
        ModelLoadError: The code fails, or the file does not load with it.
    """
    arguments = [str(path.absolute()) for path in (model, code, folder)]
    answers(
        [sys.executable, "-m", "edge.training.own_code", *arguments],
        folder=Path.cwd(),
        environment={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        limits=WorkerLimits(seconds=SECONDS),
    )


def main() -> NoReturn:
    """Return the process: model file, code, and the folder to write."""
    model, code, folder = (Path(argument) for argument in sys.argv[1:])

    def work(say: Callable[[Message], None]) -> None:
        _export(model, _defined(code), code, folder)
        say({"written": str(folder)})

    answer(work, failure=MeasurementError)


def _defined(code: Path) -> dict[str, Any]:
    """Run the code, and return its classes and functions by name.

    Raises:
        ModelLoadError: It fails.
    """
    spec = importlib.util.spec_from_file_location(MODULE, code)
    assert spec is not None and spec.loader is not None  # its name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    sys.path.insert(0, str(code.parent))  # as Python does with a script
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename) == code
        ]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        where = readable(code) if line is None else f"{readable(code)}, line {line}"
        raise ModelLoadError(
            f"the code of {OPTION} fails: {where}: {type(error).__name__}: {_first_line(error)}",
            hint="Make it run on its own first: python FILE.py.",
        ) from error
    return {name: value for name, value in vars(module).items() if callable(value)}


def _export(model: Path, defined: Mapping[str, Any], code: Path, folder: Path) -> None:
    import keras

    from edge.training.keras_files import file_config

    registered = keras.saving.get_custom_objects()
    asked = {name: key for name, key in _asked(file_config(model)) if key not in registered}
    objects = {key: defined[name] for name, key in asked.items() if name in defined}
    try:
        loaded = keras.models.load_model(
            model, custom_objects={**defined, **objects}, compile=False, safe_mode=True
        )
        loaded.export(folder, verbose=False)
    except Exception as error:  # Keras and the code raise types of their own
        traceback.print_exc()
        missing = sorted(set(asked) - set(defined))
        if missing:
            raise ModelLoadError(
                f"{readable(code)} does not define {', '.join(missing)}, which "
                f"{readable(model)} needs",
                hint=HINT,
            ) from error
        raise ModelLoadError(
            f"{readable(model)} does not load with the code of {readable(code)}: "
            f"{_first_line(error)}",
            hint=HINT,
        ) from error


def _asked(value: Any) -> Iterator[tuple[str, str]]:
    """Yield each own class or function in a stored config, and the name it is registered by."""
    if isinstance(value, Mapping):
        name, module = value.get("class_name"), value.get("module", "keras")
        key = value.get("registered_name")
        if name == "function" and isinstance(value.get("config"), str):
            if str(module) != "builtins" or key not in (None, "function"):
                yield value["config"], str(key or value["config"])
        elif _is_own(name, module):
            yield str(name), str(key or name)
        for item in value.values():
            yield from _asked(item)
    elif isinstance(value, list):
        for item in value:
            yield from _asked(item)


def _is_own(name: Any, module: Any) -> bool:
    is_class = isinstance(name, str) and not name.startswith("__")
    return is_class and str(module).split(".")[0] not in ("keras", "builtins")


def _first_line(error: BaseException) -> str:
    text = (str(error).strip() or repr(error)).splitlines()[0]
    return text.partition(" Full object config")[0][:300]


if __name__ == "__main__":
    main()
