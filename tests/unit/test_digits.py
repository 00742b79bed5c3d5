from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.dataset.digits import export_digits
from edge.errors import OutputError

datasets = pytest.importorskip("sklearn.datasets")


def test_every_digit_is_written(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    target = tmp_path / "new" / "digits"
    assert export_digits(target, on_progress=lambda *call: calls.append(call)) == 1797
    assert sorted(path.name for path in target.iterdir()) == list("0123456789")
    assert len(list(target.glob("*/*.png"))) == 1797
    assert (calls[0], calls[-1]) == ((1, 1797), (1797, 1797))
    assert [path.name for path in target.parent.iterdir()] == ["digits"]
    bunch = datasets.load_digits()
    for index in (0, 17, 1796):
        with Image.open(target / str(bunch.target[index]) / f"{index:04}.png") as image:
            assert (image.mode, image.size) == ("L", (32, 32))
            pixels = np.asarray(image)
        # Every 4 x 4 block is one value of the source, 0..16 scaled to 0..255.
        assert np.array_equal(pixels, np.kron(pixels[::4, ::4], np.ones((4, 4), np.uint8)))
        assert np.abs(pixels[::4, ::4] / 255 * 16 - bunch.images[index]).max() < 0.04
        assert pixels.max() == round(bunch.images[index].max() * 255 / 16)


def test_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    assert export_digits(tmp_path / "digits") == 1797


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(OutputError, match="exists and is not empty"):
        export_digits(tmp_path)
    with pytest.raises(OutputError, match=r"mine\.txt is a file"):
        export_digits(tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert (tmp_path / "mine.txt").read_text() == "keep me"


def test_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        export_digits(tmp_path / "digits")
    assert list(tmp_path.iterdir()) == []


def test_interruption_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_digits(tmp_path / "digits", on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []
