"""The on-device runtime: Python >= 3.11, numpy, pillow and one interpreter, nothing else.

The same code runs on the host (training, calibration, evaluation) and, copied into every
bundle, on the device::

    from edge.runtime import Classifier

    classifier = Classifier.open("bundle")
    best = classifier.classify("photo.jpg")[0]
    print(best.label, best.score)

A bundle of another task is opened as a ``TaskModel``::

    from edge.runtime import TaskModel

    for found in TaskModel.open("detector").predict("photo.jpg").items:
        print(found.label, found.score, found.left, found.top, found.right, found.bottom)

Pictures of a camera come as ``Frame``::

    from edge.runtime import open_camera

    with open_camera("0") as camera:
        for frame in camera:
            print(frame.number, classifier.classify(frame.jpeg)[0].label)
"""

TYPE_CHECKING = False  # type checkers take it for true; typing would take 10 ms to import
if TYPE_CHECKING:
    from edge.runtime.cameras.camera import Frame
    from edge.runtime.cameras.table import open_camera
    from edge.runtime.classifier import Classifier
    from edge.runtime.spec import Category
    from edge.runtime.tasks.model import TaskModel

__all__ = ["Category", "Classifier", "Frame", "TaskModel", "open_camera"]

_PLACES = {
    "Category": "spec",
    "Classifier": "classifier",
    "Frame": "cameras.camera",
    "TaskModel": "tasks.model",
    "open_camera": "cameras.table",
}


def __getattr__(name: str) -> object:
    """Load numpy and Pillow only when a class is asked for: the device counts every import."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"edge.runtime.{_PLACES[name]}"), name)
