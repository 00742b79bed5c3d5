"""MediaPipe, in an environment of its own, answers the same file and picture as edge does."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.identification.identify import identify
from edge.identification.model import StatedModel
from edge.runtime.contract import Interpolation
from edge.runtime.session import open_session
from edge.runtime.tasks.model import TaskModel
from edge.runtime.tasks.results import Detections
from tests.integration.environments import environment

DATA = os.environ.get("EDGE_TEST_DATA")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(DATA is None, reason="needs EDGE_TEST_DATA"),
]
SSD = "models/tasks/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
FACE = "modules/face_detection/face_detection_short_range.tflite"

# Arguments: the folder of data. Prints MediaPipe's objects and faces, and where its files lie.
ASK = """
import json, sys
from pathlib import Path
import mediapipe, numpy
from PIL import Image
from mediapipe.tasks.python import BaseOptions, vision

data = Path(sys.argv[1])
pixels = lambda name: numpy.asarray(Image.open(data / "images/tasks" / name).convert("RGB"))
options = vision.ObjectDetectorOptions(
    base_options=BaseOptions(model_asset_path=str(data / sys.argv[2])), max_results=5
)
objects, faces = [], []
with vision.ObjectDetector.create_from_options(options) as detector:
    image = mediapipe.Image(
        image_format=mediapipe.ImageFormat.SRGB, data=pixels("cats_and_dogs.jpg")
    )
    for item in detector.detect(image).detections:
        box = item.bounding_box
        objects.append([box.origin_x, box.origin_y, box.origin_x + box.width,
                        box.origin_y + box.height, item.categories[0].score])
with mediapipe.solutions.face_detection.FaceDetection(model_selection=0) as detector:
    picture = pixels("grace_hopper.bmp")
    height, width = picture.shape[:2]
    for item in detector.process(picture).detections:
        box = item.location_data.relative_bounding_box
        points = [[point.x * width, point.y * height]
                  for point in item.location_data.relative_keypoints]
        faces.append([[box.xmin * width, box.ymin * height, (box.xmin + box.width) * width,
                       (box.ymin + box.height) * height, item.score[0]], points])
place = str(Path(mediapipe.__file__).parent)
print(json.dumps({"objects": objects, "faces": faces, "place": place}))
"""


@pytest.fixture(scope="module")
def said() -> Any:
    python = environment("mediapipe-0.10.21", ["mediapipe==0.10.21"])
    done = subprocess.run(
        [str(python), "-c", ASK, DATA or "", SSD],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if "libEGL" in done.stderr or "libGLES" in done.stderr:
        pytest.skip("MediaPipe needs libEGL and libGLESv2: apt-get install libegl1 libgles2")
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def answered(path: Path, stated: StatedModel, picture: str) -> Detections:
    found = identify(path, stated)
    assert found.decoder is not None
    session = open_session(path)
    model = TaskModel(session, found.labels, found.preprocessing, found.decoder)
    answer = model.predict(Path(DATA or "", "images/tasks", picture))
    assert isinstance(answer, Detections)
    return answer


def test_an_ssd_finds_the_same_objects(said: Any) -> None:
    """MediaPipe samples from the corners of pixels, which is no default for this file."""
    stated = StatedModel(interpolation=Interpolation.BILINEAR_LEGACY)
    answer = answered(Path(DATA or "", SSD), stated, "cats_and_dogs.jpg")
    mine = [[i.left, i.top, i.right, i.bottom, i.score] for i in answer.items[:5]]
    assert len(said["objects"]) == 5
    theirs = np.minimum(np.array(said["objects"])[:, :4], (1200, 600) * 2)  # not clipped there
    # MediaPipe cuts the corner and the sides to whole pixels.
    np.testing.assert_allclose(np.array(mine)[:, :4], theirs, atol=2)
    np.testing.assert_allclose(np.array(mine)[:, 4], np.array(said["objects"])[:, 4], atol=0.004)


def test_blazeface_finds_the_same_face(said: Any) -> None:
    """A letterbox is of whole pixels here, and of parts of them in MediaPipe: 0.4 % of the size."""
    answer = answered(Path(said["place"], FACE), StatedModel(), "grace_hopper.bmp")
    (face,), ((box, points),) = answer.items, said["faces"]
    mine = (face.left, face.top, face.right, face.bottom)
    np.testing.assert_allclose(mine, box[:4], atol=4)  # of 606 pixels
    assert face.score == pytest.approx(box[4], abs=0.01)
    found = [(point.x, point.y) for point in face.keypoints]
    np.testing.assert_allclose(found, points, atol=4)
