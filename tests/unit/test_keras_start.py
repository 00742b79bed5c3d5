"""Keras starts without packages that only its plots and wrappers need."""

import subprocess
import sys

import pytest


@pytest.mark.tensorflow
def test_what_keras_need_not_import_can_be_imported_afterwards() -> None:
    program = (
        "import sys\n"
        "from edge.keras_start import LEFT_OUT, start_keras\n"
        "start_keras()\n"
        "start_keras()\n"
        "assert 'keras' in sys.modules and not set(LEFT_OUT) & set(sys.modules), LEFT_OUT\n"
        "import sklearn.metrics, matplotlib.figure\n"
        "import keras\n"
        "assert keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).count_params() == 3\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
