"""Small signed bundles for devices, and releases that break there in every way.

The model computes softmax(mean over the pixels / 32), one class per colour channel, so a bundle
is made in milliseconds; runtime, golden self-test and signature are those of a real one.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from edge.dataset.pictures import Picture
from edge.deploy.keys import new_key
from edge.deploy.signing import sign
from edge.pipeline.bundle import copy_runtime
from edge.pipeline.task_golden import write_task_golden
from edge.runtime.contract import Preprocessing
from edge.runtime.files import sha256_file, write_json
from edge.runtime.golden import ABSOLUTE, GOLDEN_NAME, Expected, Golden
from edge.runtime.head import Head, head_bytes
from edge.runtime.output import HeadKind, HeadSpec
from edge.runtime.session import encode_pixels, open_session
from edge.runtime.spec import Manifest, Variant
from edge.runtime.tasks.model import TaskModel
from edge.runtime.tasks.table import DecoderSpec

MODEL: Final = Path(__file__).parents[1] / "data" / "channels_int8.tflite"
FLOATS: Final = MODEL.with_name("channels_fp32.tflite")
LABELS: Final = ("red", "green", "blue")
SIDE: Final = 16
COLOURS: Final = ((96, 64, 32), (32, 96, 64), (32, 64, 96))
FATAL: Final = (11, 11)  # width and height
_FATAL_DECODER: Final = f"""

from PIL import ImageFile
_load = ImageFile.ImageFile.load

def _fatal(self):
    if self.size == {FATAL}:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    return _load(self)

ImageFile.ImageFile.load = _fatal
"""


def write_signed(folder: Path, key: Path, *, name: str = "channels") -> Path:
    """A bundle with one int8 model, signed; the key is made where there is none."""
    (folder / "models").mkdir(parents=True)
    model = folder / "models" / "tflite-int8.tflite"
    shutil.copyfile(MODEL, model)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    _write_golden(folder, model)
    copy_runtime(folder / "runtime")
    variant = Variant(
        name="tflite-int8",
        path="models/tflite-int8.tflite",
        format="tflite",
        precision="int8",
        size_bytes=model.stat().st_size,
        input_dtype="uint8",
    )
    manifest = Manifest(
        name=name,
        labels=LABELS,
        preprocessing=Preprocessing(height=SIDE, width=SIDE),
        variants=(variant,),
        default_variant=variant.name,
        files={},
    )
    write_json(folder / "manifest.json", manifest.to_json())
    if not key.exists():
        new_key(key)
    signed_again(folder, key)
    return folder


def signed_again(folder: Path, key: Path, *, version: int | None = None) -> Path:
    """List the files as they are now, and sign, perhaps as of another second."""
    path = folder / "manifest.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    value["files"] = {
        item.relative_to(folder).as_posix(): sha256_file(item)
        for item in sorted(folder.rglob("*"))
        if item.is_file() and not item.name.startswith("manifest.json")
    }
    write_json(path, value)
    (folder / "manifest.json.sig").unlink(missing_ok=True)  # edge signs nothing that was altered
    sign(folder, key, version=version)
    return folder


def broken(folder: Path, source: Path, key: Path, damage: Callable[[Path], None]) -> Path:
    """A copy of a bundle, damaged by somebody who has the key."""
    shutil.copytree(source, folder)
    damage(folder)
    return signed_again(folder, key)


def wrong_answers(bundle: Path) -> None:
    """The model answers otherwise than on the building host."""
    path = bundle / "golden" / "tflite-int8.npy"
    np.save(path, np.roll(np.load(path, allow_pickle=False), 1, axis=-1))


def crashes_at_start(bundle: Path) -> None:
    """The self-test passes, the service does not start."""
    _in_watch(bundle, "raise RuntimeError('planted: crash at start')")


def crashes_later(bundle: Path) -> None:
    """The service is ready, and dies three seconds later."""
    _in_watch(
        bundle,
        "import os, threading\nthreading.Timer(3, lambda: os._exit(9)).start()",
    )


def hangs_at_start(bundle: Path) -> None:
    """The service runs and never says that it is ready."""
    _in_watch(bundle, "import time\ntime.sleep(3600)")


def hangs_in_selftest(bundle: Path) -> None:
    """The self-test does not end."""
    _in_selftest(bundle, "import time\ntime.sleep(3600)")


def kills_its_interpreter(bundle: Path) -> None:
    """Opening the model ends the process, as a damaged file can."""
    _in_selftest(bundle, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")


def fills_memory(bundle: Path) -> None:
    """The self-test takes 4 GB."""
    _in_selftest(bundle, "held = [bytearray(bytes([1]) * 1_000_000) for _ in range(4_000)]")


def decoder_dies(bundle: Path) -> None:
    """Decoding a picture of FATAL pixels ends the process, as a fault of a decoder can."""
    path = bundle / "runtime" / "edge" / "runtime" / "image.py"
    path.write_text(f"{path.read_text()}{_FATAL_DECODER}")


def changed(text: str) -> Callable[[Path], None]:
    """Nothing is wrong with it; it is another release."""

    def change(bundle: Path) -> None:
        (bundle / "note.txt").write_text(f"{text}\n")

    return change


def has_floats(bundle: Path) -> None:
    """A float file that is as accurate stands beside the int8 one, and a damaged one."""
    for name, content in (
        ("tflite-fp32", FLOATS.read_bytes()),
        ("tflite-fp16", FLOATS.read_bytes()[:600]),
    ):
        (bundle / f"models/{name}.tflite").write_bytes(content)
    session = open_session(bundle / "models/tflite-fp32.tflite")
    pictures = np.array([np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in COLOURS])
    answers = [session.run(encode_pixels(item, session.inputs[0]))[0] for item in pictures]
    np.save(bundle / "golden/tflite-fp32.npy", np.stack(answers), allow_pickle=False)
    path = bundle / GOLDEN_NAME
    golden = json.loads(path.read_text(encoding="utf-8"))
    known = golden["variants"]["tflite-int8"]
    golden["variants"]["tflite-fp32"] = known | {"path": "golden/tflite-fp32.npy"}
    write_json(path, golden)
    path = bundle / "manifest.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    (int8,) = value["variants"]
    others = [
        int8
        | {
            "name": name,
            "path": f"models/{name}.tflite",
            "precision": name.removeprefix("tflite-"),
            "size_bytes": (bundle / f"models/{name}.tflite").stat().st_size,
            "input_dtype": "float32",
        }
        for name in ("tflite-fp32", "tflite-fp16")
    ]
    write_json(path, value | {"variants": [int8, *others]})


def learns(bundle: Path) -> None:
    """The model's answers are embeddings, and a head makes them classes: it can be taught more."""
    rows = np.eye(len(LABELS), dtype=np.float32)
    spec = HeadSpec(kind=HeadKind.IMPRINTED, path="head.npz", scale=20.0)
    head = Head(spec=spec, labels=LABELS, vectors=rows, classes=np.arange(len(LABELS)))
    (bundle / spec.path).write_bytes(head_bytes(head))
    path = bundle / "manifest.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, value | {"head": spec.to_json()})


def embeds(bundle: Path) -> None:
    """The model's answers are vectors: it is no classifier, and has a self-test of that kind."""
    path = bundle / "manifest.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    decoder = DecoderSpec(name="embedding", evidence="the test says so")
    write_json(path, value | {"schema_version": 3, "decoder": decoder.to_json()})
    pictures = [
        Picture(bundle / f"golden/{number}.png", "0" * 64) for number in range(len(COLOURS))
    ]
    kept = bundle.parent / "golden-pictures"
    shutil.copytree(bundle / "golden", kept, dirs_exist_ok=True)
    shutil.rmtree(bundle / "golden")
    model = bundle / "models" / "tflite-int8.tflite"
    contract = Preprocessing.from_json(value["preprocessing"])
    running = TaskModel(open_session(model), LABELS, contract, decoder)
    pictures = [Picture(kept / item.path.name, item.sha256) for item in pictures]
    write_task_golden(
        bundle,
        {"tflite-int8": model},
        pictures,
        [running.predict(item.path) for item in pictures],
        preprocessing=contract,
        decoder=decoder,
        labels=LABELS,
    )


def embeds_wrongly(bundle: Path) -> None:
    """The same, whose model answers otherwise than on the building host."""
    embeds(bundle)
    path = bundle / "golden" / "tflite-int8.npz"
    with np.load(path) as held:
        arrays = {name: np.roll(held[name], 1, axis=-1) for name in held.files}
    np.savez(path, **arrays)


def _in_selftest(bundle: Path, code: str) -> None:
    path = bundle / "runtime" / "edge" / "runtime" / "golden.py"
    path.write_text(path.read_text() + f"\n{code}\n")


def _in_watch(bundle: Path, code: str) -> None:
    path = bundle / "runtime" / "edge" / "runtime" / "watch.py"
    path.write_text(path.read_text() + f"\n{code}\n")


def _write_golden(folder: Path, model: Path) -> None:
    session = open_session(model)
    (folder / "golden").mkdir()
    images: list[str] = []
    answers: list[np.ndarray[Any, Any]] = []
    for number, colour in enumerate(COLOURS):
        pixels = np.full((SIDE, SIDE, 3), colour, np.uint8)
        images.append(f"golden/{number}.png")
        Image.fromarray(pixels).save(folder / images[-1])
        answers.append(session.run(encode_pixels(pixels, session.inputs[0]))[0])
    np.save(folder / "golden" / "tflite-int8.npy", np.stack(answers), allow_pickle=False)
    expected = Expected(
        path="golden/tflite-int8.npy",
        engine=session.engine,
        unit=ABSOLUTE,  # its answers are dequantized inside
        tolerance=1e-4,
        other_engine_tolerance=1e-2,
        flat=False,
    )
    golden = Golden(images=tuple(images), variants={"tflite-int8": expected})
    write_json(folder / GOLDEN_NAME, golden.to_json())
