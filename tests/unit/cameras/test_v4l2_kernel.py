"""Numbers and places of the kernel's interface for cameras, against its header's structures."""

import ctypes
import errno
import mmap
import os
import select
from pathlib import Path

import pytest

from edge.runtime.cameras import v4l2_kernel as kernel
from tests.unit.cameras import scripted_device as c

# As gcc on x86-64 prints them from linux/videodev2.h of Linux 6.1.
NUMBERS = {
    "QUERYCAP": 0x8068_5600,
    "ENUM_FMT": 0xC040_5602,
    "S_FMT": 0xC0D0_5605,
    "REQBUFS": 0xC014_5608,
    "QUERYBUF": 0xC058_5609,
    "QBUF": 0xC058_560F,
    "DQBUF": 0xC058_5611,
    "STREAMON": 0x4004_5612,
    "STREAMOFF": 0x4004_5613,
    "S_PARM": 0xC0CC_5616,
    "ENUM_FRAMESIZES": 0xC02C_564A,
}


def test_requests_have_the_numbers_of_the_kernel() -> None:
    assert {name: code for code, name in kernel.NAMES.items()} == NUMBERS


@pytest.mark.parametrize(
    ("structure", "size"),
    [
        (c.Capability, kernel.CAPABILITY_BYTES),
        (c.FormatDescription, kernel.FORMAT_DESCRIPTION_BYTES),
        (c.Format, kernel.FORMAT_BYTES),
        (c.RequestBuffers, kernel.REQUEST_BUFFERS_BYTES),
        (c.Buffer, kernel.BUFFER_BYTES),
        (c.StreamParameters, kernel.STREAM_PARAMETERS_BYTES),
        (c.FrameSize, kernel.FRAME_SIZE_BYTES),
    ],
)
def test_structures_are_as_long_as_the_compiler_makes_them(
    structure: type[ctypes.Structure], size: int
) -> None:
    assert ctypes.sizeof(structure) == size


def test_a_buffer_is_read_where_the_compiler_puts_its_fields() -> None:
    made = c.Buffer(index=3, bytesused=1234, flags=0x2040, sequence=77)
    made.timestamp = c.TimeValue(12, 250_000)
    assert kernel.filled_buffer(bytes(made)) == (3, 1234, True, 12.25, 77)
    made.flags = 0x0000  # another clock
    assert kernel.filled_buffer(bytes(made))[2:4] == (False, None)
    made.length, made.m.offset = 614_400, 8192
    assert kernel.buffer_place(bytes(made)) == (614_400, 8192)
    asked = c.Buffer.from_buffer(kernel.buffer(2))
    assert (asked.index, asked.type, asked.memory) == (2, 1, 1)


def test_a_format_is_written_and_read_where_the_compiler_puts_its_fields() -> None:
    asked = c.Format.from_buffer(kernel.format_wish("YUYV", 640, 480))
    pix = asked.fmt.pix
    assert (asked.type, pix.width, pix.height, pix.pixelformat, pix.field) == (
        *(1, 640, 480),
        b"YUYV",
        1,
    )
    pix.bytesperline, pix.sizeimage = 1288, 618_240
    assert kernel.given_format(bytes(asked)) == (640, 480, "YUYV", 1288, False)
    pix.quantization = 1
    assert kernel.given_format(bytes(asked)).full_range
    pix.quantization, pix.colorspace = 0, 7  # the default of JPEG's colours
    assert kernel.given_format(bytes(asked)).full_range
    pix.quantization = 2
    assert not kernel.given_format(bytes(asked)).full_range


def test_rates_and_sizes_are_where_the_compiler_puts_them() -> None:
    asked = c.StreamParameters.from_buffer(kernel.rate_wish(15, 2))
    assert (asked.type, asked.numerator, asked.denominator) == (1, 2, 15)
    assert kernel.given_rate(bytes(asked)) == 7.5
    assert kernel.given_rate(bytes(204)) == 0
    size = c.FrameSize.from_buffer(kernel.size_question(5, "MJPG"))
    assert (size.index, size.pixel_format) == (5, b"MJPG")
    size.type, size.width, size.height = 1, 320, 240
    assert kernel.size_answer(bytes(size)) == (320, 240)
    size.type = 3  # any size between two
    assert kernel.size_answer(bytes(size)) is None


@pytest.mark.parametrize(
    ("caps", "driver", "captures", "is_camera"),
    [
        (c.CAPTURE | c.STREAMING, "uvcvideo", True, True),
        (c.CAPTURE | c.STREAMING, "bcm2835-isp", True, False),
        (c.CAPTURE | c.STREAMING | c.IO_MC, "rp1-cfe", True, False),
        (c.META | c.STREAMING, "uvcvideo", False, False),
        (c.CAPTURE, "uvcvideo", False, False),
    ],
)
def test_a_node_is_judged_by_its_own_abilities(
    caps: int, driver: str, captures: bool, is_camera: bool
) -> None:
    made = c.Capability(driver=driver.encode(), card=b"A \xff camera", device_caps=caps)
    made.capabilities = c.DEVICE_CAPS | c.CAPTURE | c.STREAMING
    found = kernel.capability(bytes(made))
    assert (found.driver, found.card) == (driver, "A \ufffd camera")
    assert (found.captures, found.is_camera) == (captures, is_camera)
    made.capabilities = caps  # an old driver states no abilities of the node
    assert kernel.capability(bytes(made)).captures is captures


def test_names_that_last(tmp_path: Path) -> None:
    """A link may lead nowhere, or to itself, while udev takes a camera away."""
    system = kernel.KernelCalls()
    system.names_folder = tmp_path / "by-id"
    assert system.lasting_names() == {}
    system.names_folder.mkdir()
    (tmp_path / "video3").touch()
    for name, target in (("a", "../video3"), ("b", "../video3"), ("gone", "../video4")):
        (system.names_folder / name).symlink_to(target)
    (system.names_folder / "loop").symlink_to("loop")
    assert system.lasting_names() == {str(tmp_path / "video3"): str(system.names_folder / "a")}


def test_the_system_calls_of_this_machine(tmp_path: Path) -> None:
    """A pipe stands for a device: it is polled, and knows no request of a camera."""
    system = kernel.KernelCalls()
    os.mkfifo(tmp_path / "device")
    descriptor = system.open(str(tmp_path / "device"))
    try:
        assert not os.get_inheritable(descriptor)
        begun = system.now()
        assert system.poll(descriptor, 0.05) == 0
        assert 0.04 < system.now() - begun < 5
        os.write(descriptor, b"x")
        assert system.poll(descriptor, 5) == select.POLLIN
        with pytest.raises(OSError) as caught:
            system.control(descriptor, kernel.QUERYCAP, bytearray(kernel.CAPABILITY_BYTES))
        assert caught.value.errno == errno.ENOTTY
    finally:
        system.close(descriptor)
    with (tmp_path / "memory").open("w+b") as file:
        file.truncate(2 * mmap.PAGESIZE)
        mapped = system.map(file.fileno(), mmap.PAGESIZE, mmap.PAGESIZE)
        os.pwrite(file.fileno(), b"picture", mmap.PAGESIZE)
        assert mapped[:7] == b"picture"
        mapped.close()
