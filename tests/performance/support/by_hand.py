"""What a user would do without edge: train, convert with the tools' defaults, score each file.

    PYTHONPATH=tests/performance python -m support.by_hand PHOTOS FOLDER EPOCHS [--float]

PHOTOS has train/ and test/ with a folder of pictures for each class. The recipe is that of
``recipe.py``, as courses teach it; the converters run one after the other with their default
options, int8 calibrated on 100 training pictures; one loop scores each file, one picture at a time,
as a device would. Writes the six files into FOLDER, or with --float the two of fp32, and prints
JSON: the seconds of each step, and the top-1 of each file.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 224
CALIBRATING = 100
FLOAT = ("fp32",)
ALL = (*FLOAT, "fp16", "dynamic", "int8")  # of TFLite; ONNX has the first and the last


def main() -> None:
    """Do the work and print."""
    photos, folder, epochs = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    precisions = FLOAT if sys.argv[4:] == ["--float"] else ALL
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.monotonic()
        result = work()
        seconds[name] = time.monotonic() - started
        return result

    timed("import", imported)
    from support.recipe import recipe

    model, train, test = recipe(str(photos))
    timed("train", lambda: model.fit(train, epochs=epochs, verbose=0))
    top1 = {"keras": float(timed("evaluate", lambda: model.evaluate(test, verbose=0))[1])}
    pixels = np.concatenate([images.numpy() for images, _ in train])[:CALIBRATING]
    timed("TFLite", lambda: default_tflite(model, pixels, folder, precisions))
    timed("ONNX", lambda: default_onnx(model, pixels, folder, precisions))
    started = time.monotonic()
    for file in sorted(folder.glob("*.*")):
        top1[file.name] = _score(file, photos / "test", list(train.class_names))
    seconds["score"] = time.monotonic() - started
    print(json.dumps({"seconds": seconds, "top1": top1}))


def imported() -> None:
    """Import all tools, which counts apart."""
    import keras
    import onnx
    import tensorflow
    import tf2onnx
    from ai_edge_litert import interpreter
    from onnxruntime import quantization

    del keras, onnx, tensorflow, tf2onnx, interpreter, quantization


def default_tflite(
    model: Any, pixels: np.ndarray, folder: Path, precisions: Sequence[str] = ALL
) -> None:
    """Write a file of each precision, calibrated on pixels (images, height, width, 3)."""
    import tensorflow as tf

    for precision in precisions:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if precision != "fp32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "fp16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: (
                [image[np.newaxis].astype(np.float32)] for image in pixels
            )
        (folder / f"{precision}.tflite").write_bytes(converter.convert())


def default_onnx(
    model: Any, pixels: np.ndarray, folder: Path, precisions: Sequence[str] = ALL
) -> None:
    """Write fp32, and int8 with a scale per channel, calibrated on pixels, if that is asked for."""
    import onnx
    import tensorflow as tf
    import tf2onnx
    from onnxruntime import quantization

    signature = [tf.TensorSpec((None, *pixels.shape[1:]), tf.float32, name="image")]
    function = tf.function(lambda image: model(image, training=False))
    source, prepared = folder / "fp32.onnx", folder.with_name("prepared.onnx")
    proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=17)
    onnx.save(proto, source)
    if "int8" not in precisions:
        return

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images = iter(pixels)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.images, None)
            return None if image is None else {"image": image[np.newaxis].astype(np.float32)}

    quantization.quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantization.quantize_static(prepared, folder / "int8.onnx", Reader(), per_channel=True)


def _pictures(test: Path, classes: list[str]) -> Iterator[tuple[int, np.ndarray]]:
    for label, name in enumerate(classes):
        for path in sorted((test / name).iterdir()):
            image = Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            yield label, np.asarray(image, np.float32)[np.newaxis]


def _score(file: Path, test: Path, classes: list[str]) -> float:
    answer = _litert(file) if file.suffix == ".tflite" else _onnxruntime(file)
    right = [int(np.argmax(answer(image)) == label) for label, image in _pictures(test, classes)]
    return sum(right) / len(right)


def _litert(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file))
    interpreter.allocate_tensors()
    put, got = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]

    def answer(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(put, image)
        interpreter.invoke()
        found: np.ndarray = interpreter.get_tensor(got["index"])
        return found

    return answer


def _onnxruntime(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})[0]


if __name__ == "__main__":
    main()
