"""Fuzz tests with ten thousand damaged stroke logs: read up to the damage or rejected in one line."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest
from video_helpers import EVERY

from renderer.actions import (
    Command,
    Event,
    InputError,
    Paste,
)
from renderer.stroke_log.log import LogHeader, LogWriter, read
from renderer.stroke_log.playback import Playback

COUNT = 10_000
WEIGHED = 500  # runs that also measure memory, which takes three times as long
WORDS = [
    *(
        b"1e999",
        b"NaN",
        b"-1",
        b"null",
        b"true",
        b"[]",
        b"{}",
        b'""',
        b"1" * 400,
        b"0.1",
        b"[" * 2000,
        b"-1e308",
    ),
    *(b'"', b",", b"]", b"\n", b"\x00", b"\xff\xfe", b"\\u0000", b'"e"', b'"p"', b'"b"', b'"model"', b"8192"),
    *(
        b'"flowbrush":',
        b'"width":',
        b"Zz9~" * 50,
        b"}" * 30,
        b"999999",
        b"-999999",
        b'"target_fps"',
        b"16384",
    ),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("log") / "log"
    writer = LogWriter(
        path, LogHeader(256, 192, "painter", "0123456789abcdef", {"seed": 3, "mood": {"haze": 0.5}})
    )
    for number, action in enumerate(EVERY):
        writer.write(Event(action, 0.05 * number))
    writer.close()
    return path.read_bytes()


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Apply one to four kinds of damage: lost, changed, duplicated and foreign bytes and lines."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(data)) if data else 0
        end = min(len(data), at + chance.choice((1, 1, 2, 5, 40)))
        lines = data.splitlines(keepends=True)
        match chance.randrange(8):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:at] + bytes(chance.randrange(256) for _ in range(end - at)) + data[end:]
            case 3:
                data = data[:at] + chance.choice(WORDS) + data[at:]
            case 4:
                data = data[:at] + chance.choice(WORDS) + data[end:]
            case 5 if lines:
                lines.insert(chance.randrange(len(lines)), chance.choice(lines))
                data = b"".join(lines)
            case 6 if lines:
                chance.shuffle(lines[1:])
                lines.pop(chance.randrange(len(lines)))
                data = b"".join(lines)
            case 7:
                data = (
                    data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :] if data else b""
                )
    return data


def found_in(path, data: bytes):
    """Read a session; return None if it is rejected with a one-line error."""
    path.write_bytes(data)
    try:
        return read(path)
    except InputError as error:
        assert "\n" not in str(error)
        return None


def test_ten_thousand_damaged_logs_raise_nothing_but_the_declared_error(whole, tmp_path):
    chance, refused, faults, slowest_s = random.Random(7), 0, 0, 0.0
    for number in range(COUNT):
        if number == COUNT - WEIGHED:
            tracemalloc.start()
        data = damaged(whole, chance)
        began_s = time.process_time()
        session = found_in(tmp_path / "log", data)
        slowest_s = max(slowest_s, time.process_time() - began_s)
        if session is None:
            refused += 1
            continue
        assert len(session.events) <= data.count(b"\n")
        assert all(not isinstance(event.action, Command) for event in session.events)
        times = [event.time_s for event in session.events]
        assert times == sorted(times)
        if session.fault:
            faults += 1
            assert "line " in session.fault
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > 100 and faults > 1000, (refused, faults)
    assert slowest_s < 2 and peak < 64 << 20, (slowest_s, peak)


@pytest.mark.slow
def test_what_is_read_of_damaged_logs_can_be_painted(whole, tmp_path):
    """No settings, points, brushes or images in a log make the canvas fail, hang or use excessive memory."""
    chance, slowest_s = random.Random(8), 0.0
    for _ in range(150):
        session = found_in(tmp_path / "log", damaged(whole, chance))
        if session is None:
            continue
        began_s = time.process_time()
        try:
            playback = Playback(session, (64, 64))
        except InputError:  # invalid settings, reported in one line
            continue
        playback.advance(float("inf"))
        slowest_s = max(slowest_s, time.process_time() - began_s)
    assert slowest_s < 10


@pytest.mark.parametrize(
    "line",
    [
        b'[0,"b",1,2,3,100000,1,1,0,100,100,80]',  # a dab that would need 40 GB
        b'[0,"b",1,2,3,9,1,1,0,900000,100,80]',
        b'[0,"l",1,2,3,9,1,1,0,-90000,0,90000,0]',
        b'[0,"b",1,2,3,9,50,1,0,100,100,80]',
        b'[2000000000,"x"]',
    ],
)
def test_lines_that_would_take_hours_or_gigabytes_are_faults(tmp_path, line):
    LogWriter(tmp_path / "log", LogHeader(256, 256)).close()
    with open(tmp_path / "log", "ab") as file:
        file.write(line + b"\n")
    assert "line 2" in read(tmp_path / "log").fault


def test_an_image_in_a_log_that_claims_to_be_huge_is_refused_before_it_is_unpacked(tmp_path):
    import struct
    import zlib

    side = 12_000
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (side + 1) * side, 1)
    body = b"IDAT" + rows
    png = b"\x89PNG\r\n\x1a\n"
    for chunk in (head, body, b"IEND"):
        png += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert len(png) < 1_000_000
    writer = LogWriter(tmp_path / "log", LogHeader(256, 256))
    writer.write(Event(Paste(png), 0.0))
    writer.close()
    playback = Playback(read(tmp_path / "log"))
    began_s = time.process_time()
    playback.advance(9.0)
    assert playback.faults == 1 and time.process_time() - began_s < 1
