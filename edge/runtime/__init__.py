"""The on-device runtime: Python >= 3.11, numpy, pillow and one interpreter, nothing else.

The same code runs on the host (training, calibration, evaluation) and, copied into every
bundle, on the device::

    from edge.runtime import Classifier

    classifier = Classifier.open("bundle")
    best = classifier.classify("photo.jpg")[0]
    print(best.label, best.score)
"""

TYPE_CHECKING = False  # type checkers take it for true; typing would take 10 ms to import
if TYPE_CHECKING:
    from edge.runtime.classifier import Classifier
    from edge.runtime.spec import Category

__all__ = ["Category", "Classifier"]


def __getattr__(name: str) -> object:
    """Load numpy and Pillow only when a class is asked for: the device counts every import."""
    if name == "Classifier":
        from edge.runtime.classifier import Classifier

        return Classifier
    if name == "Category":
        from edge.runtime.spec import Category

        return Category
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
