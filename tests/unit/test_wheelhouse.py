"""Locks, slimming and the cache of the wheelhouse, with wheels made on the spot and real pip."""

import base64
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edge.deploy.facts import Facts, without_python
from edge.deploy.wheelhouse import Environment, Platform, environment, lock, locked, slim
from edge.deploy.wheelhouse.environment import environment_id
from edge.deploy.wheelhouse.lock import EXTRAS, MACHINES, PACKAGES, Wheel, read
from edge.deploy.wheelhouse.slim import needed
from edge.errors import DeviceError, EngineUnavailable

LOCKS = sorted(lock.FOLDER.glob("*.toml"))
PI = Platform(machine="aarch64", python="3.11", glibc=(2, 36))


# ---- the locks that are shipped


def test_the_locks_are_there() -> None:
    assert {path.stem for path in LOCKS} == {
        *(f"litert-3.{minor}" for minor in (11, 12, 13)),
        *(f"onnxruntime-3.{minor}" for minor in (11, 12, 13)),
        "tflite-runtime-3.11",
    }


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_is_a_closed_list_for_both_machines(path: Path) -> None:
    engine, _, python = path.stem.rpartition("-")
    wheels = read(path)
    extra_of = {name: extra for extra, names in EXTRAS.items() for name in names}
    names = (*PACKAGES[engine], *extra_of)
    listed = sorted((wheel.name, wheel.machine) for wheel in wheels)
    assert listed == sorted((name, machine) for name in names for machine in MACHINES)
    tag = "cp" + python.replace(".", "")
    for wheel in wheels:
        name, version, implementation, abi, _ = wheel.file.removesuffix(".whl").split("-")
        assert (name.replace("_", "-").lower(), version) == (wheel.name, wheel.version)
        assert wheel.extra == extra_of.get(wheel.name)
        if wheel.extra is not None:  # of Python alone, so that it adds no condition on a device
            assert (implementation, abi, wheel.platforms) == ("py3", "none", ("any",))
            assert wheel.glibc == (0, 0)
        else:
            assert (implementation, abi) == (tag, tag)
            assert wheel.platforms
            assert all(platform.endswith(wheel.machine) for platform in wheel.platforms)
        assert len(bytes.fromhex(wheel.sha256)) == 32
        assert wheel.glibc <= (2, 36)  # Debian 12
    versions = {(wheel.name, wheel.version) for wheel in wheels}
    assert len(versions) == len(names)  # one of each, whatever the machine


def test_the_bundle_is_scored_with_the_interpreter_that_is_shipped() -> None:
    """The golden outputs are the building host's: another version may answer otherwise."""
    from importlib.metadata import version

    shipped = {wheel.name: wheel.version for wheel in locked("litert", PI)}
    here = version("ai-edge-litert")
    assert shipped["ai-edge-litert"].split(".")[0] == here.split(".")[0]


def test_a_target_out_of_facts(tmp_path: Path) -> None:
    assert Platform.parse("aarch64", "3.11.2", "2.36") == PI
    assert Platform.parse("x86_64", "3.13.1+", "2.41.1").glibc == (2, 41)
    with pytest.raises(DeviceError, match="not glibc"):
        Platform.parse("aarch64", "3.12.3", None)
    with pytest.raises(DeviceError, match="no versions"):
        Platform.parse("aarch64", "3", "2.36")
    facts: Facts = without_python("aarch64\n6.6\n\n")
    with pytest.raises(DeviceError, match="did not say"):
        Platform.of(facts)


@pytest.mark.parametrize(
    ("engine", "target", "said"),
    [
        ("litert", Platform(machine="aarch64", python="3.9"), "for Python 3.9"),
        ("tflite-runtime", Platform(machine="aarch64", python="3.13"), "for Python 3.13"),
        ("litert", Platform(machine="armv7l"), "no wheels for armv7l"),
        ("litert", Platform(machine="aarch64", glibc=(2, 26)), "needs glibc 2.27; the device has"),
        ("tflite-runtime", Platform(machine="aarch64", glibc=(2, 31)), "needs glibc 2.34"),
        ("tensorflow", PI, "no wheels of tensorflow"),
        ("../locks/litert", PI, "no wheels of"),
    ],
)
def test_a_device_without_wheels(engine: str, target: Platform, said: str) -> None:
    with pytest.raises(DeviceError) as caught:
        locked(engine, target)
    assert said in caught.value.message
    assert caught.value.hint


def test_the_id_tells_environments_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {environment_id(locked(engine, PI)) for engine in PACKAGES}
    ids.add(environment_id(locked("litert", Platform(machine="x86_64"))))
    ids.add(environment_id(locked("litert", Platform(machine="aarch64", python="3.13"))))
    assert len(ids) == 5
    same = environment_id(locked("litert", Platform(machine="aarch64", glibc=(2, 41))))
    assert same in ids  # the same wheels
    with_more = environment_id(locked("litert", PI, EXTRAS))
    assert with_more not in ids
    monkeypatch.setitem(slim.PACKAGE, "numpy", {})  # other rules leave other files
    assert environment_id(locked("litert", PI)) not in ids


# ---- ELF and slimming


def extension() -> Path:
    """numpy's core, which needs libraries of its wheel."""
    spec = importlib.util.find_spec("numpy._core._multiarray_umath")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin)


def test_needed_libraries_are_read_as_readelf_reads_them() -> None:
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("no readelf (binutils)")
    for path in (extension(), *(extension().parents[2] / "numpy.libs").iterdir()):
        said = subprocess.run([readelf, "-d", path], capture_output=True, text=True, check=True)
        lines = [line for line in said.stdout.splitlines() if "(NEEDED)" in line]
        expected = tuple(line.split("[")[1].rstrip("]") for line in lines)
        assert expected
        assert needed(path.read_bytes()) == expected


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh", b"\x7fELF\x01\x01" + bytes(60)])
def test_what_is_no_64_bit_elf_needs_nothing(content: bytes) -> None:
    assert needed(content) == ()


def test_libraries_of_a_wheel_stay_when_something_that_stays_needs_them() -> None:
    core, folder = extension(), extension().parents[2] / "numpy.libs"
    contents = {f"numpy.libs/{path.name}": path.read_bytes() for path in folder.iterdir()}
    assert len(contents) > 1
    with_user = slim.kept("numpy", contents | {"numpy/_core/core.so": core.read_bytes()})
    assert {f"numpy.libs/{name}" for name in needed(core.read_bytes())} & set(with_user)
    # libgfortran is asked for by OpenBLAS alone, libquadmath by that
    assert set(contents) <= set(with_user)
    assert slim.kept("numpy", contents) == {}
    unknown = slim.kept("numpy", contents | {"numpy.libs/libidle.so": b"\x7fELF"})
    assert "numpy.libs/libidle.so" not in unknown


@pytest.mark.parametrize(
    ("package", "path", "stays"),
    [
        ("numpy", "numpy/_core/multiarray.py", True),
        ("numpy", "numpy/_core/tests/test_multiarray.py", False),
        ("numpy", "numpy/_core/_multiarray_tests.cpython-311-aarch64-linux-gnu.so", False),
        # numpy 1 imports its own while it documents itself
        ("numpy", "numpy/core/_multiarray_tests.cpython-311-aarch64-linux-gnu.so", True),
        ("numpy", "numpy/testing/__init__.py", True),
        ("numpy", "numpy/__init__.pyi", False),
        ("numpy", "numpy-2.4.6.dist-info/METADATA", True),  # the runtime asks for versions
        ("numpy", "numpy-2.4.6.dist-info/RECORD", False),
        ("numpy", "numpy-2.4.6.dist-info/licenses/numpy/_core/include/x.h/LICENSE.txt", True),
        ("onnxruntime", "onnxruntime/ThirdPartyNotices.txt", True),
        ("onnxruntime", "onnxruntime/capi/libonnxruntime.so.1.32.0", False),
        ("ai-edge-litert", "ai_edge_litert/libLiteRtWebGpuAccelerator.so", False),
        ("ai-edge-litert", "ai_edge_litert/libpywrap_litert_common.so", True),
        ("ai-edge-litert", "ai_edge_litert/_pywrap_litert_interpreter_wrapper.so", True),
        ("pillow", "PIL/_imaging.cpython-313-aarch64-linux-gnu.so", True),
        ("pillow", "PIL/_webp.cpython-313-aarch64-linux-gnu.so", True),
        ("pillow", "PIL/_avif.cpython-313-aarch64-linux-gnu.so", False),
    ],
)
def test_what_stays(package: str, path: str, stays: bool) -> None:
    assert (path in slim.kept(package, {path: b"x"})) == stays


def test_every_rule_drops_something_of_a_shipped_lock() -> None:
    """A rule is about a package that some lock has."""
    packages = {name for names in PACKAGES.values() for name in names}
    assert set(slim.PACKAGE) == packages


# ---- an index of tiny wheels


VERSIONS = {"ai-edge-litert": "9.1", "numpy": "9.2", "pillow": "9.3"}
PAHO = {"paho-mqtt": {"paho/mqtt/client.py": b"mqtt = 1\n", "paho/py.typed": b""}}


def make_wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes]) -> Path:
    """A wheel for aarch64 as the binary distribution format describes it."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    tag = "cp311-cp311-manylinux_2_27_aarch64"
    contents = dict(files) | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        "Requires-Dist: protobuf\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
    }
    digests = {
        path: base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        for path, content in contents.items()
    }
    record = "".join(f"{path},sha256={d},{len(contents[path])}\n" for path, d in digests.items())
    path = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in contents.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return path


FILES: Mapping[str, Mapping[str, bytes]] = {
    "ai-edge-litert": {
        "ai_edge_litert/__init__.py": b"answer = 42\n",
        "ai_edge_litert/aot/__init__.py": b"raise ImportError\n",
        "ai_edge_litert-9.1.data/purelib/ai_edge_litert/pure.py": b"",
        "ai_edge_litert-9.1.data/scripts/tool": b"#!python\n",
    },
    "numpy": {"numpy/__init__.py": b"", "numpy/tests/test_all.py": b""},
    "pillow": {"PIL/__init__.py": b""},
}


class Index:
    """A folder of wheels, a lock of them, and pip told to look nowhere else."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "index"
        self.locks = folder / "locks"
        self.cache = folder / "cache"
        self.folder.mkdir()
        self.locks.mkdir()
        monkeypatch.setattr(lock, "FOLDER", self.locks)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(self.folder))
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.setenv("PIP_RETRIES", "0")

    def fill(self, files: Mapping[str, Mapping[str, bytes]] = FILES) -> None:
        text = "schema_version = 1\n"
        extra_of = {name: extra for extra, names in EXTRAS.items() for name in names}
        for name, contents in {**files, **PAHO}.items():
            version = VERSIONS.get(name, "9.4")
            path = make_wheel(self.folder, name, version, contents)
            content = path.read_bytes()
            extra = f'extra = "{extra_of[name]}"\n' if name in extra_of else ""
            text += (
                f'[[wheels]]\nname = "{name}"\nversion = "{version}"\n{extra}'
                f'machine = "aarch64"\nfile = "{path.name}"\nsize_bytes = {len(content)}\n'
                f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n'
            )
        (self.locks / "litert-3.11.toml").write_text(text)

    def clear(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()

    def environment(self, **options: Any) -> Environment:
        return environment("litert", PI, cache=self.cache, **options)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    made = Index(tmp_path, monkeypatch)
    made.fill()
    return made


def test_wheels_are_gathered_unpacked_and_slimmed(index: Index) -> None:
    steps: list[int] = []
    found = index.environment(step=steps.append)
    assert steps == [1, 1, 1]
    assert dict(found.packages) == VERSIONS
    assert {wheel.name for wheel in found.wheels} == set(VERSIONS)
    assert {path for path in found.files if ".dist-info" not in path} == {
        "ai_edge_litert/__init__.py",
        "ai_edge_litert/pure.py",
        "numpy/__init__.py",
        "PIL/__init__.py",
    }
    on_disk = {
        path.relative_to(found.path).as_posix(): path.read_bytes()
        for path in found.path.rglob("*")
        if path.is_file()
    }
    assert set(on_disk) == set(found.files)
    for path, (digest, size) in found.files.items():
        assert (hashlib.sha256(on_disk[path]).hexdigest(), len(on_disk[path])) == (digest, size)
    assert found.size_bytes == sum(map(len, on_disk.values()))


def test_what_only_some_releases_need_goes_only_to_them(index: Index) -> None:
    before = index.environment()
    assert dict(before.packages) == VERSIONS and "paho/mqtt/client.py" not in before.files
    found = index.environment(extras=EXTRAS)
    assert found.id != before.id
    assert found.packages == before.packages | {"paho-mqtt": "9.4"}
    assert set(found.files) - set(before.files) == {
        "paho/mqtt/client.py",
        *(f"paho_mqtt-9.4.dist-info/{name}" for name in ("METADATA", "WHEEL")),
    }
    index.clear()
    assert index.environment(extras=EXTRAS, offline=True) == found


def test_offline_names_the_extra_that_is_not_cached(index: Index) -> None:
    index.environment()
    with pytest.raises(EngineUnavailable, match=r"not cached: paho_mqtt-9\.4[^,]*$") as caught:
        index.environment(extras=EXTRAS, offline=True)
    assert "with a package index within reach" in caught.value.hint


def test_the_second_time_needs_no_index(index: Index) -> None:
    first = index.environment()
    index.clear()
    assert index.environment() == first
    assert index.environment(offline=True) == first


def test_kept_wheels_are_unpacked_again_without_an_index(index: Index) -> None:
    first = index.environment()
    index.clear()
    shutil.rmtree(first.path.parent)
    assert index.environment(offline=True) == first


@pytest.mark.parametrize("damage", ["altered", "removed", "index"])
def test_a_damaged_environment_is_made_again(index: Index, damage: str) -> None:
    first = index.environment()
    index.clear()
    victim = first.path / "ai_edge_litert/__init__.py"
    if damage == "altered":
        victim.write_bytes(b"answer = 43\n")  # of the same size
    elif damage == "removed":
        victim.unlink()
    else:
        (first.path.parent / "index.json").write_text("{")
    assert index.environment() == first
    assert victim.read_bytes() == b"answer = 42\n"


def test_a_damaged_wheel_is_fetched_again(index: Index) -> None:
    first = index.environment()
    shutil.rmtree(first.path.parent)
    for kept in (index.cache / "stages").glob("wheel-*/*.whl"):
        kept.write_bytes(kept.read_bytes()[:-100])
    assert index.environment() == first


def test_without_an_index_and_a_cache(index: Index) -> None:
    index.clear()
    with pytest.raises(EngineUnavailable) as caught:
        index.environment()
    assert "neither cached nor to be had" in caught.value.message
    assert "ai-edge-litert 9.1" in caught.value.message
    assert "Connect to a package index" in caught.value.hint
    assert list((index.cache / "stages").iterdir()) == []


def test_offline_asks_nobody(index: Index) -> None:
    with pytest.raises(EngineUnavailable, match=r"not cached: ai_edge_litert-9\.1"):
        index.environment(offline=True)


def test_other_bytes_than_locked_are_refused(index: Index) -> None:
    make_wheel(index.folder, "numpy", "9.2", {"numpy/__init__.py": b"evil = True\n"})
    with pytest.raises(EngineUnavailable, match="other bytes than edge has locked"):
        index.environment()
    assert not list(index.cache.rglob("*.py"))


@pytest.mark.parametrize("path", ["../evil.py", "/evil.py", "numpy/../../evil.py", "a\\b.py"])
def test_a_wheel_that_leads_outside_is_refused(index: Index, path: str) -> None:
    index.fill(dict(FILES) | {"numpy": {path: b"evil = True\n"}})
    with pytest.raises(EngineUnavailable, match="path outside itself"):
        index.environment()
    assert list(index.cache.parent.rglob("evil.py")) == []


def test_a_python_without_pip(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare/bin/python"))
    with pytest.raises(EngineUnavailable) as caught:
        index.environment()
    assert "no pip" in caught.value.message
    assert "ensurepip" in caught.value.hint


def test_the_oldest_glibc_of_a_wheel() -> None:
    def glibc(platforms: str) -> tuple[int, int]:
        file = f"a-1-cp311-cp311-{platforms}.whl"
        wheel = Wheel(name="a", version="1", machine="", file=file, sha256="", size_bytes=1)
        return wheel.glibc

    assert glibc("manylinux_2_27_aarch64.manylinux_2_28_aarch64") == (2, 27)
    assert glibc("manylinux2014_x86_64") == (2, 17)
    assert glibc("manylinux_2_5_x86_64") == (2, 5)
