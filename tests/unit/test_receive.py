"""Files from a host: whole and as listed, or not there."""

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest

from edge.device.receive import Incoming, Listing, check_folder
from edge.errors import BundleError, DeviceError

CONTENT = b"0123456789" * 1000


def listed(**files: bytes) -> dict[str, Any]:
    return {
        name.replace("__", "/"): [hashlib.sha256(content).hexdigest(), len(content)]
        for name, content in files.items()
    }


def incoming(folder: Path, **files: bytes) -> Incoming:
    folder.mkdir(exist_ok=True)
    return Incoming(folder, Listing.from_json(listed(**files)))


def test_a_file_that_came_whole_is_not_asked_for_again(tmp_path: Path) -> None:
    first = incoming(tmp_path / "in", a__b=CONTENT)
    assert first.missing() == {"a/b": 0}
    first.put("a/b", 0, io.BytesIO(CONTENT))
    assert incoming(tmp_path / "in", a__b=CONTENT).missing() == {}


def test_a_cut_file_goes_on_where_it_was(tmp_path: Path) -> None:
    first = incoming(tmp_path / "in", a=CONTENT)
    with pytest.raises(EOFError):
        first.put("a", 0, io.BytesIO(CONTENT[:4321]))
    second = incoming(tmp_path / "in", a=CONTENT)
    assert second.missing() == {"a": 4321}
    second.put("a", 4321, io.BytesIO(CONTENT[4321:]))
    assert (tmp_path / "in" / "a").read_bytes() == CONTENT
    assert second.missing() == {}


def test_the_rest_of_other_bytes_is_refused_and_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.part").write_bytes(b"x" * 4321)
    place = incoming(tmp_path / "in", a=CONTENT)
    assert place.missing() == {"a": 4321}
    with pytest.raises(BundleError, match="other bytes"):
        place.put("a", 4321, io.BytesIO(CONTENT[4321:]))
    assert place.missing() == {"a": 0}


def test_a_longer_part_of_an_older_release_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.part").write_bytes(CONTENT + b"more")
    place = incoming(tmp_path / "in", a=CONTENT)
    assert place.missing() == {"a": 0}
    place.put("a", 0, io.BytesIO(CONTENT))
    assert place.missing() == {}


def test_what_an_earlier_release_holds_is_copied_by_its_hash(tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / "same").write_bytes(CONTENT)
    (earlier / "other").write_bytes(b"y" * len(CONTENT))  # of the same size
    place = incoming(tmp_path / "in", same=CONTENT, other=CONTENT)
    place.take([earlier])
    assert place.missing() == {"other": 0}


@pytest.mark.parametrize(
    "path",
    ["../a", "/a", "a/../../b", "a\\b", "", ".", "a//b", "./a", "a\0b", "a.part", "__pycache__/a"],
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(BundleError):
        Listing.from_json({path: ["0" * 64, 1]})


@pytest.mark.parametrize(
    "value",
    [[], {"a": 1}, {"a": ["x"]}, {"a": ["x", -1]}, {"a": ["x", "many"]}, None],
)
def test_what_is_no_listing_is_refused(value: Any) -> None:
    with pytest.raises(BundleError):
        Listing.from_json(value)


def test_what_was_not_listed_is_not_taken(tmp_path: Path) -> None:
    place = incoming(tmp_path / "in", a=CONTENT)
    for path, offset in (("b", 0), ("a", -1), ("a", len(CONTENT) + 1)):
        with pytest.raises(BundleError, match="not what was to come"):
            place.put(path, offset, io.BytesIO(CONTENT))


def test_a_bundle_larger_than_the_disk_is_refused_before_it_comes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    huge = Listing.from_json({"a": ["0" * 64, 10**18]})
    with pytest.raises(DeviceError, match="free"):
        Incoming(tmp_path / "in", huge).check_space()


def test_install_checks_everything(tmp_path: Path) -> None:
    place = incoming(tmp_path / "in", a=CONTENT)
    with pytest.raises(BundleError, match="missing or altered"):
        place.install(tmp_path / "out")
    place.put("a", 0, io.BytesIO(CONTENT))
    (tmp_path / "in" / "b").write_bytes(b"")
    with pytest.raises(BundleError, match="nothing lists it"):
        place.install(tmp_path / "out")
    (tmp_path / "in" / "b").unlink()
    (tmp_path / "in" / "b").symlink_to("/etc/passwd")
    with pytest.raises(BundleError, match="nothing lists it"):
        place.install(tmp_path / "out")
    (tmp_path / "in" / "b").unlink()
    place.install(tmp_path / "out")
    assert (tmp_path / "out" / "a").read_bytes() == CONTENT
    assert not (tmp_path / "in").exists()


def test_a_link_in_place_of_a_file_is_altered(tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(CONTENT)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").symlink_to(tmp_path / "content")
    with pytest.raises(BundleError, match="missing or altered"):
        check_folder(tmp_path / "in", Listing.from_json(listed(a=CONTENT)))
