"""Network streams, received over real sockets and files, and a virtual camera with a stand-in device."""

from __future__ import annotations

import http.server
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import av
import numpy as np
import pytest

from renderer.actions import InputError
from renderer.recording.encoder import Encoder, planar
from renderer.sinks import network_stream, writers
from renderer.sinks.network_stream import NetworkStream, parse_stream
from renderer.sinks.virtual_camera import VirtualCamera
from renderer.sources.readers.video import VideoReader

SIZE = (128, 96)
GAPS_MS = [33, 34, 33, 50, 20, 33] * 10


def until(condition, timeout_s: float = 10.0) -> None:
    end_s = time.perf_counter() + timeout_s
    while not condition():
        assert time.perf_counter() < end_s, "waited in vain"
        time.sleep(0.005)


def picture(level: int) -> np.ndarray:
    return np.full((SIZE[1], SIZE[0], 3), level, np.uint8)


def feed(stream: NetworkStream, gaps_ms=GAPS_MS, *, at_once: bool = False) -> Iterator[int]:
    """Encode grey pictures at these intervals, as the recorder does; yields the time of each in ms."""
    encoder, ms = Encoder(SIZE), 0
    for number, gap in enumerate(gaps_ms):
        for packet in encoder.encode(planar(picture(20 + number * 3 % 200)), ms, key=stream.wants_key):
            stream.offer(packet, encoder.stream)
        yield ms
        ms += gap
        if not at_once:
            time.sleep(gap / 1000)


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Receiver(threading.Thread):
    """Decodes a stream from a URL. times_s: times of its frames. levels: grey levels of their centres."""

    def __init__(self, url: str, **options: str):
        super().__init__(daemon=True)
        self.url, self.options = url, options
        self.times_s: list[float] = []
        self.levels: list[float] = []
        self.start()

    def run(self) -> None:
        wanted = {"analyzeduration": "200000", "probesize": "100000", **self.options}
        try:
            with av.open(self.url, options=wanted, timeout=(10.0, 1.5)) as file:
                for frame in file.decode(video=0):
                    self.times_s.append(frame.time)
                    self.levels.append(float(frame.to_ndarray(format="rgb24")[40:50, 40:50].mean()))
        except (av.error.FFmpegError, OSError):  # the sender ended
            return


def test_a_stream_over_udp_has_every_frame_at_its_time(port):
    receiver = Receiver(f"udp://127.0.0.1:{port}", fifo_size="20000")
    time.sleep(0.2)
    stream = NetworkStream(parse_stream(f"udp://127.0.0.1:{port}"))
    sent_ms = list(feed(stream))
    assert stream.close()
    receiver.join(10)
    assert stream.sent == len(sent_ms) and stream.dropped == 0
    assert len(receiver.times_s) >= len(sent_ms) - 2  # the decoder may keep the last frames
    came = np.array(receiver.times_s) * 1000
    came -= came[0]
    assert np.abs(came - sent_ms[: len(came)]).max() < 1
    assert np.allclose(receiver.levels, [20 + n * 3 % 200 for n in range(len(came))], atol=4)


def test_a_stream_over_tcp_is_lost_and_comes_back(port, monkeypatch):
    monkeypatch.setattr(network_stream, "FIRST_RETRY_S", 0.05)
    stream = NetworkStream(parse_stream(f"tcp://127.0.0.1:{port}"))
    feeding = feed(stream, [33] * 400)
    for _ in range(10):
        next(feeding)
    until(lambda: stream.state == "lost")
    assert "connection refused" in stream.problem and "\n" not in stream.problem
    receiver = Receiver(f"tcp://127.0.0.1:{port}?listen=1")
    until(lambda: next(feeding) is not None and stream.state == "live")
    for _ in range(30):
        next(feeding)
    assert stream.problem == "" and stream.dropped > 0  # packets while nobody listened
    assert stream.close()
    receiver.join(10)
    assert len(receiver.times_s) >= 25  # starting at a key frame


def test_a_receiver_that_takes_nothing_costs_packets_and_no_time(monkeypatch):
    """The receiver never reads its socket: the queue fills, and further packets are dropped and counted."""
    monkeypatch.setattr(writers, "WRITE_S", 0.3)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        stream = NetworkStream(parse_stream(f"tcp://127.0.0.1:{deaf.getsockname()[1]}"))
        encoder, random, slowest = Encoder((640, 480)), np.random.default_rng(0), 0.0
        for number in range(150):
            noise = random.integers(0, 256, (480, 640, 3), dtype=np.uint8)
            packets = encoder.encode(planar(noise), number * 33, key=stream.wants_key)
            for packet in packets:
                began_s = time.perf_counter()
                stream.offer(packet, encoder.stream)
                slowest = max(slowest, time.perf_counter() - began_s)
        assert len(stream._queue) <= network_stream.QUEUE
        assert stream.dropped > 0 and slowest < 0.2
        stream.close()


def test_a_stream_over_rtmp_arrives(port):
    """FFmpeg's own server, in another process, receives one stream and prints the number of frames."""
    url = f"rtmp://127.0.0.1:{port}/live/key"
    code = f"""
import av
count = 0
try:
    with av.open({url!r}, options={{"listen": "1"}}, timeout=(20, 3)) as stream:
        for frame in stream.decode(video=0):
            count += 1
except (av.error.FFmpegError, OSError):
    pass
print(count)
"""
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    time.sleep(1.0)  # until it listens
    stream = NetworkStream(parse_stream(url))
    sent = list(feed(stream, [33] * 45))
    until(lambda: stream.sent == len(sent) and not stream._queue)
    assert stream.close() and stream.dropped == 0
    came = int(server.communicate(timeout=30)[0])
    assert came >= len(sent) - 3


@pytest.mark.parametrize("scheme", ["rtmp", "tcp"])
def test_a_server_that_never_answers_does_not_stop_the_program(scheme, monkeypatch):
    """PyAV holds Python's global lock while it connects, which would block the window."""
    monkeypatch.setattr(writers, "WRITE_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        stream = NetworkStream(parse_stream(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/live/key"))
        slowest, last_s = 0.0, time.perf_counter()
        for _ in feed(stream, [20] * 100):
            now_s = time.perf_counter()
            slowest, last_s = max(slowest, now_s - last_s), now_s
        assert slowest < 0.5
        stream.close()


def test_a_refused_rtmp_server_is_one_line(port, monkeypatch):
    monkeypatch.setattr(network_stream, "FIRST_RETRY_S", 0.05)
    stream = NetworkStream(parse_stream(f"rtmp://127.0.0.1:{port}/live/key"))
    feeding = feed(stream, [33] * 600)
    until(lambda: next(feeding) is not None and stream.state == "lost", 20)
    assert stream.problem == f"the stream to rtmp://127.0.0.1:{port}: connection refused"
    stream.close()


@pytest.mark.parametrize(
    "text", ["udp://127.0.0.1", "tcp://host", "udp://host:5000?pkt_size=0", "udp://host:x"]
)
def test_an_address_without_a_port_is_one_line(text):
    with pytest.raises(InputError, match="write udp://host:port") as refused:
        parse_stream(text)
    assert "\n" not in str(refused.value)


def test_an_hls_folder_is_a_playlist_that_plays(tmp_path):
    folder = tmp_path / "live"
    stream = NetworkStream(parse_stream(str(folder)))
    sent = list(paced(stream, 150))
    assert stream.close()
    assert (folder / "index.m3u8").exists() and list(folder.glob("segment-*.ts"))
    with av.open(str(folder / "index.m3u8")) as file:
        times = [frame.time for frame in file.decode(video=0)]
    assert len(times) == len(sent)
    assert np.abs((np.array(times) - times[0]) * 1000 - sent).max() < 1


def paced(stream: NetworkStream, count: int) -> Iterator[int]:
    """Like `feed`, but as fast as the stream accepts packets."""
    for ms in feed(stream, [33] * count, at_once=True):
        until(lambda: len(stream._queue) < network_stream.QUEUE // 2)
        yield ms


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ftp://host/x", "cannot be streamed to"),
        ("out.mp4", "use --record"),
    ],
)
def test_a_target_that_cannot_be_is_one_line(text, words):
    with pytest.raises(InputError, match=words) as refused:
        parse_stream(text)
    assert "\n" not in str(refused.value)


def test_a_folder_with_files_in_it_is_not_written_to(tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        parse_stream(str(tmp_path))


def test_srt_is_used_where_ffmpeg_has_it_and_else_refused():
    try:
        av.open("srt:", "r", format="mpegts", timeout=0.1)
    except av.error.ProtocolNotFoundError:
        with pytest.raises(InputError, match="no srt://"):
            parse_stream("srt://127.0.0.1:9000")
    except (av.error.FFmpegError, OSError):
        assert parse_stream("srt://127.0.0.1:9000").format == "mpegts"


def test_rtmp_is_flv_and_its_key_is_in_no_message():
    target = parse_stream("rtmp://user:word@127.0.0.1:1935/live/key?token=1")
    assert target.format == "flv" and target.name == "rtmp://127.0.0.1:1935"


# Virtual camera: protocol against a stand-in, as no device is available


class StandIn:
    """pyvirtualcam backend that keeps the frames sent to it."""

    made: StandIn | None = None
    refuses = ""

    def __init__(self, *, width, height, fps, fourcc, device, **kw):
        if StandIn.refuses:
            raise RuntimeError(StandIn.refuses)
        self.size, self.fps = (width, height), fps
        self.frames: list[tuple[float, np.ndarray]] = []
        self.closed = 0
        StandIn.made = self

    def send(self, frame: np.ndarray) -> None:
        self.frames.append((time.perf_counter(), frame.copy()))

    def close(self) -> None:
        self.closed += 1

    def device(self) -> str:
        return "/dev/video42"

    def native_fourcc(self) -> None:
        return None


@pytest.fixture
def stand_in(monkeypatch):
    pyvirtualcam = pytest.importorskip("pyvirtualcam")
    pyvirtualcam.register_backend("stand-in", StandIn)
    monkeypatch.setattr(StandIn, "refuses", "")
    monkeypatch.setattr(StandIn, "made", None)
    yield StandIn
    pyvirtualcam.camera.BACKENDS.pop("stand-in")


def test_the_virtual_camera_sends_the_newest_picture_at_a_steady_rate(stand_in):
    camera = VirtualCamera(backend="stand-in")
    camera.offer(picture(50))
    until(lambda: camera.sent >= 5)
    camera.offer(picture(200))
    until(lambda: camera.sent >= 20)
    camera.close()
    device = stand_in.made
    assert device.size == SIZE and device.closed == 1 and "/dev/video42" in camera.words()
    levels = [int(frame[0]) for _, frame in device.frames]
    assert levels[0] == 50 and levels[-1] == 200 and sorted(levels) == levels
    assert len(device.frames[0][1]) == SIZE[0] * SIZE[1] * 3
    gaps = np.diff([at_s for at_s, _ in device.frames])
    assert np.median(gaps) == pytest.approx(1 / 30, abs=0.008)


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        ("'v4l2loopback' backend: No v4l2 loopback device found", "modprobe v4l2loopback"),
        ("'obs' backend: virtual camera output not started", "OBS Studio"),
        ("it is on fire", "there is no virtual camera: .*it is on fire"),
    ],
)
def test_without_a_device_there_is_one_line(stand_in, monkeypatch, refuses, words):
    monkeypatch.setattr(StandIn, "refuses", refuses)
    camera = VirtualCamera(backend="stand-in")
    camera.offer(picture(50))
    until(lambda: camera.problem)
    assert re.search(words, camera.problem) and "\n" not in camera.problem and camera.sent == 0
    camera.close()


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch):
    import sys

    from renderer.control.osc import OscServer
    from renderer.sources.readers.screen import check_mss

    for name in ("mss", "pyvirtualcam", "pythonosc", "pythonosc.dispatcher", "pythonosc.osc_server"):
        monkeypatch.setitem(sys.modules, name, None)
    for use in (check_mss, VirtualCamera, lambda: OscServer("127.0.0.1", 9, {})):
        with pytest.raises(InputError, match=r"pip install flowbrush\[live\]"):
            use()


def test_an_hls_folder_is_a_source_over_http_with_every_frame(tmp_path):
    """All frames arrive; FFmpeg's `nobuffer` flag would drop the first segment."""
    folder = tmp_path / "live"
    stream = NetworkStream(parse_stream(str(folder)))
    sent = list(paced(stream, 100))
    stream.close()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *values):
            super().__init__(*values, directory=str(folder))

        def log_message(self, *values): ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        reader = VideoReader(f"http://127.0.0.1:{server.server_port}/index.m3u8", live=True)
        count = 0
        while reader.read() is not None:
            count += 1
        reader.close()
        server.shutdown()
    assert count == len(sent)
