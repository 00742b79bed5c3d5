import hashlib
import math
from pathlib import Path

import pytest

from edge.runtime.files import atomic_writer, sha256_file, write_bytes, write_json


def test_the_content_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_writer(path) as stream:
        stream.write(b"new ")
        stream.flush()
        assert path.read_bytes() == b"old"
        stream.write(b"content")
    assert path.read_bytes() == b"new content"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [None, b"old"])
def test_nothing_appears_when_the_block_fails(
    tmp_path: Path, error: type[BaseException], before: bytes | None
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(error):
        with atomic_writer(path) as stream:
            stream.write(b"half")
            raise error
    assert [item.read_bytes() for item in tmp_path.iterdir()] == ([before] if before else [])


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge.runtime.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bytes(tmp_path / "missing" / "file", b"")
    assert not list(tmp_path.iterdir())


def test_json_is_readable_and_strict(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"grün": [1, None]})
    assert path.read_text(encoding="utf-8") == '{\n  "grün": [\n    1,\n    null\n  ]\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, math.nan)
    assert "grün" in path.read_text(encoding="utf-8")


def test_sha256(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    write_bytes(tmp_path / "file", content)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()
