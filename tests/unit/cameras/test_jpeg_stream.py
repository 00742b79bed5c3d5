"""Streams of JPEGs are cut right, however they come and whatever is damaged in them."""

import random
import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from edge.runtime.cameras.jpeg_stream import Splitter

SIZE = (160, 120)
THUMBNAIL_LIKE = b"\xff\xfe\x00\x08\xff\xd8\xff\xff\xd9\x00"  # a comment with SOI and EOI


def jpeg(seed: random.Random, size: tuple[int, int] = SIZE) -> bytes:
    """A picture of a random kind: progressive, with restart markers, thumbnails, fill bytes."""
    width, height = size
    small = np.frombuffer(seed.randbytes(width * height * 3 // 64), np.uint8)
    image = Image.fromarray(small.reshape(height // 8, width // 8, 3)).resize(size)
    stream = BytesIO()
    options: dict[str, object] = {"quality": seed.choice([20, 50, 85, 100])}
    options |= {"progressive": True} if seed.random() < 0.3 else {}
    options |= {"restart_marker_rows": 1} if seed.random() < 0.3 else {}
    image.save(stream, "JPEG", **options)
    content = stream.getvalue()
    if seed.random() < 0.6:
        inner = BytesIO()
        image.resize((40, 30)).save(inner, "JPEG")
        exif = b"Exif\0\0II*\0" + inner.getvalue() + b"\xff\xd9"
        segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif
        content = content[:2] + segment + THUMBNAIL_LIKE + content[2:]
    if seed.random() < 0.2:
        content = content[:2] + b"\xff\xff" + content[2:]
    return content


def cut(stream: bytes, seed: random.Random, splitter: Splitter) -> list[bytes]:
    """Feed the stream in chunks of all sizes; each piece lies where it says."""
    found, at = [], 0
    while at < len(stream):
        count = seed.choice([1, 2, 3, 7, 100, 4096, 65_536, 200_000])
        for start, piece in splitter.feed(stream[at : at + count]):
            assert stream[start : start + len(piece)] == piece
            found.append(piece)
        at += count
    return found


@pytest.mark.parametrize("round_number", range(25))
def test_whole_streams_are_cut_exactly(round_number: int) -> None:
    seed = random.Random(round_number)
    whole = [jpeg(seed) for _ in range(seed.randint(1, 5))]
    padding = bytes(seed.choice([0, 0, 1, 50]))
    splitter = Splitter(one_size=True)
    assert cut(padding.join(whole), seed, splitter) == whole
    assert splitter.dropped == 0


@pytest.mark.parametrize("round_number", range(25))
def test_damage_costs_pictures_and_never_the_stream(round_number: int) -> None:
    seed = random.Random(1000 + round_number)
    whole = [jpeg(seed) for _ in range(4)]
    begun = seed.randrange(1, len(whole[0]))
    # The first picture tells the size: a thumbnail that is met by a later start is dropped.
    after_start = cut(
        whole[1] + whole[0][begun:] + b"".join(whole[1:]), seed, Splitter(one_size=True)
    )
    assert after_start[0] == whole[1] and after_start[-3:] == whole[1:]
    damaged = bytearray(b"".join(whole))
    for _ in range(seed.randint(1, 20)):
        place = seed.randrange(len(whole[0]))
        damaged[place] = seed.choice([0xFF, 0xD8, 0xD9, 0, seed.randrange(256)])
    if seed.random() < 0.3:
        place = seed.randrange(len(whole[0]))
        del damaged[place : seed.randint(place, len(whole[0]))]
    last = jpeg(seed)
    # A damaged length may swallow 64 KiB before the next start is looked for.
    tail = [last] * (65_536 // len(last) + 2)
    assert cut(bytes(damaged) + b"".join(tail), seed, Splitter())[-1] == last
    cut(seed.randbytes(5000), seed, Splitter())  # noise


def test_a_picture_that_is_cut_swallows_nothing_of_the_next() -> None:
    seed = random.Random(11)
    whole = [jpeg(seed) for _ in range(2)]
    splitter = Splitter()
    # Cut within its last bytes: in entropy-coded data, before the marker of its end.
    pieces = splitter.feed(whole[0][:-20].rstrip(b"\xff") + whole[1])
    assert [piece.jpeg for piece in pieces] == whole[1:]
    assert splitter.dropped == 1


def test_a_bare_search_would_cut_wrong() -> None:
    """The pictures of these tests have what such a search falls for."""
    seed = random.Random(7)
    whole = [jpeg(seed) for _ in range(20)]
    parts = b"".join(whole).split(b"\xff\xd9")
    assert len(parts) - 1 > len(whole)


def test_memory_is_bounded() -> None:
    splitter = Splitter(limit=100_000)
    seed = random.Random(1)
    start = jpeg(seed)[:-2]
    splitter.feed(start)
    for _ in range(50):  # a picture without an end
        assert splitter.feed(b"\x12" * 20_000) == []
        assert len(splitter._bytes) < 150_000
    assert splitter.dropped == 1
    good = jpeg(seed)
    assert [piece.jpeg for piece in splitter.feed(good)] == [good]
    for _ in range(50):
        splitter.feed(bytes(20_000))  # nothing but padding
        assert len(splitter._bytes) < 10


@pytest.mark.parametrize(
    "hostile",
    [
        b"\xff\xd8\xff" * 200_000,
        b"\xff" * 2_000_000,
        b"\xff\xd8" + b"\xff\xfe\x00\x02" * 500_000,
        (b"\xff\xd8\xff\xfe\xff\xff" + b"\xff\xd8\xff\xfe\x00\x08" * 10_900) * 30,
        b"\xff\xd8\xff\xda\x00\x02" + b"\xff\x00" * 1_000_000,
    ],
)
def test_hostile_streams_cost_little(hostile: bytes) -> None:
    begun = time.process_time()
    splitter = Splitter()
    for at in range(0, len(hostile), 65_536):
        splitter.feed(hostile[at : at + 65_536])
    # A second or less on an idle machine; quadratic work would take minutes.
    assert time.process_time() - begun < 10
