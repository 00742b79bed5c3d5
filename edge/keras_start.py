"""Keras imported in less time: without what only its plots and its scikit-learn wrappers need."""

import sys
from typing import Final

# Keras imports these where they are installed, for functions that edge does not call: a quarter of
# the time of its own import.
LEFT_OUT: Final = ("matplotlib", "sklearn")


def start_keras() -> None:
    """Import Keras and TensorFlow, if nothing has; whoever imports Keras first calls this instead.

    Keras takes what it does not find for not installed, so ``keras.wrappers`` and the plots of
    ``keras.visualization`` do not work afterwards in this process.
    """
    if "keras" in sys.modules:
        return
    hidden = [name for name in LEFT_OUT if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # an import of it is an ImportError
    try:
        import keras  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]
