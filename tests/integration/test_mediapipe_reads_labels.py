"""The real MediaPipe classifies with our metadata alone: it finds the labels and the scaling.

On Linux it needs libEGL.so.1 and libGLESv2.so.2 (Debian: libegl1, libgles2), though no GPU.
"""

import ctypes.util
import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from edge.modelfile import tflite_metadata
from edge.modelfile.metadata import ModelDescription
from edge.runtime.contract import Preprocessing
from tests.integration.environments import environment

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[1] / "data"  # how they were made: unit/test_tflite_metadata.py
LABELS = {"red 🍎": (200, 0, 0), "grün": (0, 200, 0), "青": (0, 0, 200)}

# Arguments: model, pictures. Prints [[label, score] of the best answer, one per picture].
CLASSIFY = """
import json, sys
import mediapipe
from mediapipe.tasks.python import BaseOptions, vision

options = vision.ImageClassifierOptions(
    base_options=BaseOptions(model_asset_path=sys.argv[1]), max_results=1
)
answers = []
with vision.ImageClassifier.create_from_options(options) as classifier:
    for path in sys.argv[2:]:
        result = classifier.classify(mediapipe.Image.create_from_file(path))
        best = result.classifications[0].categories[0]
        answers.append([best.category_name, best.score])
print(json.dumps(answers))
"""


@pytest.fixture
def mediapipe_python() -> str:
    for library in ("EGL", "GLESv2"):
        if ctypes.util.find_library(library) is None:
            pytest.skip(f"MediaPipe needs lib{library}: apt-get install libegl1 libgles2")
    return str(environment("mediapipe", ["mediapipe==1.2.2"]))


def classify(python: str, model: Path, pictures: list[Path]) -> list[tuple[str, float]]:
    done = subprocess.run(
        [python, "-c", CLASSIFY, str(model), *map(str, pictures)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [(label, score) for label, score in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.parametrize("name", ["channels_fp32", "channels_int8"])
def test_mediapipe_names_the_colour(mediapipe_python: str, tmp_path: Path, name: str) -> None:
    model = tmp_path / "model.tflite"
    content = tflite_metadata.embed(
        (DATA / f"{name}.tflite").read_bytes(),
        ModelDescription(
            name=name,
            description="Which channel is strongest.",
            labels=tuple(LABELS),
            preprocessing=Preprocessing(height=16, width=16),
        ),
    )
    model.write_bytes(content)
    pictures = []
    for index, colour in enumerate(LABELS.values()):
        pictures.append(tmp_path / f"{index}.png")
        Image.new("RGB", (40, 30), colour).save(pictures[-1])

    answers = classify(mediapipe_python, model, pictures)

    assert [label for label, _ in answers] == list(LABELS)
    # softmax of (200, 0, 0) / 32 gives 0.996; of pixels scaled to -1..1 it would give 0.34.
    assert min(score for _, score in answers) > 0.99
