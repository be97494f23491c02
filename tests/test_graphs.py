"""Tests of CUDA graph management on a CPU; only the capture itself is replaced by a stand-in."""

import contextlib
import functools
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.device.cuda_graphs import (
    MAX_TRIES,
    NOT_YET,
    WARM_UPS,
    CaptureGate,
    FrameGraphs,
    capture_cuda,
)
from models.device.graph_frames import GraphedParts
from models.device.host_buffers import HostBuffers
from models.device.stopwatch import Stopwatch


def stand_in(function, inputs):
    """Stand-in capture: a replay calls the function again and writes into the same output."""
    output = function(**inputs)
    return lambda: output.copy_(function(**inputs)), output


@pytest.fixture
def graphs():
    return FrameGraphs(lambda key: lambda x, gain: x * gain * key, capture=stand_in)


def inputs(value=1.0, size=3):
    return {"x": torch.full((size,), value), "gain": torch.tensor([2.0])}


def test_eager_until_the_graph_is_there(graphs):
    assert not graphs.rest()  # no request yet
    assert graphs.run(5, **inputs()).tolist() == [10] * 3
    assert graphs.why_eager == NOT_YET
    assert graphs.run(5, **inputs(2.0)).tolist() == [20] * 3
    assert not graphs.rest()  # one graph, requested twice
    assert graphs.run(5, **inputs(3.0)).tolist() == [30] * 3
    assert graphs.why_eager == "" and graphs.keys == (5,)


def test_a_graph_serves_while_another_is_missing(graphs):
    graphs.run(1, **inputs())
    graphs.rest()
    graphs.run(2, **inputs(size=7))
    assert graphs.why_eager
    assert graphs.run(1, **inputs(4.0)).tolist() == [8] * 3
    assert graphs.why_eager == ""
    graphs.rest()
    assert graphs.run(2, **inputs(size=7)).tolist() == [4] * 7
    assert graphs.keys == (1, 2)


def test_a_graph_owns_its_memory(graphs):
    given = inputs()
    graphs.run(1, **given)
    given["x"].fill_(50)  # before the capture
    graphs.rest()
    given = inputs()
    first = graphs.run(1, **given)
    given["x"].fill_(100)
    assert first.tolist() == [2] * 3
    second = graphs.run(1, **inputs(5.0))
    assert second.data_ptr() == first.data_ptr()
    assert given["x"].tolist() == [100] * 3  # the caller's tensor is not written to


def test_changed_weights_forget_all_graphs(graphs):
    for key in (1, 2):
        graphs.run(key, **inputs())
        graphs.rest()
    graphs.run(3, **inputs())
    graphs.invalidate()
    assert graphs.keys == () and not graphs.rest()
    graphs.run(1, **inputs())
    graphs.rest()
    assert graphs.keys == (1,)


def test_a_capture_that_fails_is_tried_again_and_given_up_with_its_reason():
    tried = []

    def refuse(function, inputs):
        tried.append(1)
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    graphs = FrameGraphs(lambda key: lambda x, gain: x * gain, capture=refuse)
    for _ in range(MAX_TRIES + 2):
        assert graphs.run(1, **inputs()).tolist() == [2] * 3  # the frame is still made
        graphs.rest()
        assert "operation not permitted when stream is capturing" in graphs.why_eager or len(tried) == 1
    assert len(tried) == MAX_TRIES
    assert graphs.why_eager == "no CUDA graph: operation not permitted when stream is capturing"
    graphs.invalidate()
    graphs.run(1, **inputs())
    graphs.rest()
    assert len(tried) == MAX_TRIES + 1


def test_a_capture_that_fails_once_is_made_the_second_time():
    failures = [RuntimeError("out of memory")]

    def capture(function, inputs):
        if failures:
            raise failures.pop()
        return stand_in(function, inputs)

    graphs = FrameGraphs(lambda key: lambda x, gain: x * gain, capture=capture)
    graphs.run(1, **inputs())
    graphs.rest()
    graphs.run(1, **inputs())
    assert graphs.why_eager == "no CUDA graph yet, tried 1 times: out of memory"
    graphs.rest()
    assert graphs.run(1, **inputs(2.0)).tolist() == [4] * 3 and graphs.why_eager == ""


def test_one_capture_at_a_time_the_newest_first(graphs):
    for key in (1, 2, 3):
        graphs.run(key, **inputs())
    graphs.run(1, **inputs())
    assert graphs.rest() and graphs.keys == (1,)
    assert graphs.rest() and graphs.keys == (1, 3)
    assert not graphs.rest() and graphs.keys == (1, 3, 2)


def test_one_capture_in_the_process():
    """With two models in two threads, a second capture neither starts inside the first nor waits for it."""
    gate, seen = CaptureGate(), []
    other = FrameGraphs(lambda key: lambda x, gain: x, capture=stand_in, gate=gate)
    other.run(1, **inputs())

    def capture(function, inputs):
        thread = threading.Thread(target=lambda: seen.append((other.rest(), other.keys)))
        thread.start()
        thread.join(5)
        return stand_in(function, inputs)

    first = FrameGraphs(lambda key: lambda x, gain: x, capture=capture, gate=gate)
    first.run(1, **inputs())
    assert not first.rest() and first.keys == (1,)
    assert seen == [(True, ())]  # work remains
    assert not other.rest() and other.keys == (1,)


def test_no_capture_beside_a_load_and_no_load_into_a_capture():
    gate, order = CaptureGate(), []
    graphs = FrameGraphs(lambda key: lambda x, gain: x, capture=stand_in, gate=gate)
    graphs.run(1, **inputs())
    with gate.other_work(), gate.other_work():
        assert graphs.rest() and graphs.keys == ()

    def load():
        with gate.other_work():
            order.append("load")

    thread = threading.Thread(target=load)

    def capture(function, inputs):
        thread.start()
        thread.join(0.1)
        order.append("captured")
        return stand_in(function, inputs)

    graphs.capture = capture
    assert not graphs.rest()
    thread.join(5)
    assert order == ["captured", "load"]


def test_the_oldest_graph_goes_first():
    graphs = FrameGraphs(lambda key: lambda x, gain: x * key, capture=stand_in, max_graphs=2)
    for key in (1, 2):
        graphs.run(key, **inputs())
        graphs.rest()
    graphs.run(1, **inputs())
    graphs.run(3, **inputs())
    graphs.rest()
    assert graphs.keys == (1, 3)


def test_inputs_that_do_not_fit_are_named(graphs):
    graphs.run(1, **inputs())
    graphs.rest()
    with pytest.raises(ValueError, match=r"graph 1 takes .*\(3,\).* not .*\(4,\)"):
        graphs.run(1, **inputs(size=4))
    with pytest.raises(ValueError, match="graph 1 takes"):
        graphs.run(1, x=torch.zeros(3))


def test_a_part_of_an_older_version_is_not_captured():
    """The fixed buffers already hold a newer version, so a capture now would have the wrong content."""
    captured = []

    def capture(function, inputs):
        captured.append(function)
        return stand_in(function, inputs)

    parts = GraphedParts({"a": lambda x: x + 1, "b": lambda x: x}, torch.device("cpu"), capture=capture)
    parts.run("a", 0, {"x": torch.zeros(2)})
    parts.run("b", 0, {"x": torch.zeros(2)})
    parts.run("a", 1, {"x": torch.zeros(2)})
    while parts.rest():
        pass
    assert len(captured) == 2 and [key[:2] for key in parts.graphs.keys] == [("a", 1), ("b", 0)]


class Log:
    """Stand-in for torch.cuda that logs calls together with the current device."""

    def __init__(self, monkeypatch):
        self.calls, self.current = [], 0
        for name in ("device", "stream", "graph"):
            monkeypatch.setattr(torch.cuda, name, functools.partial(self.context, name))
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: self.Stream(self, str(device)))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))

    class Stream:
        def __init__(self, log, device):
            self.log, self.device = log, device
            log.note(f"new stream on {device}")

        def wait_stream(self, other):
            self.log.note(f"waits for {other}")

        def synchronize(self):
            self.log.note("synchronize")

    def note(self, what):
        self.calls.append((self.current, what))

    @contextlib.contextmanager
    def context(self, name, value, **options):
        before = self.current
        if name == "device":
            self.current = torch.device(value).index
        self.note(f"{name} begins")
        yield
        self.note(f"{name} ends")
        self.current = before


class OnSecondDevice(torch.Tensor):
    device = torch.device("cuda:1")


def test_a_capture_runs_under_the_device_of_its_tensors(monkeypatch):
    log = Log(monkeypatch)
    x = torch.zeros(3).as_subclass(OnSecondDevice)
    capture_cuda(lambda x: log.note("frame") or x, {"x": x})
    assert {current for current, _ in log.calls} == {1} and log.current == 0
    assert [what for _, what in log.calls] == [
        "device begins",
        "new stream on cuda:1",
        "waits for stream of cuda:1",
        "stream begins",
        *["frame"] * WARM_UPS,
        "stream ends",
        "synchronize",
        "graph begins",
        "frame",
        "graph ends",
        "device ends",
    ]


def test_host_buffers_take_turns():
    buffers = HostBuffers((2, 3), torch.uint8, "cpu")
    target = torch.zeros(2, 3, dtype=torch.uint8)
    arrays = [np.full((2, 3), value, np.uint8) for value in (1, 2, 3)]
    seen = []
    for array in arrays:
        buffers.upload(array, target)
        seen.append(buffers.download(target))
    assert [int(array[0, 0]) for array in seen] == [1, 2, 3]  # each has its own memory
    assert len({buffer.data_ptr() for buffer in buffers.buffers}) == 2


def test_a_read_only_array_is_uploaded_without_a_warning():
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        target = HostBuffers((2, 3), torch.uint8, "cpu").upload(array, torch.zeros(2, 3, dtype=torch.uint8))
    assert target.tolist() == array.tolist()


class Event:
    """Stand-in CUDA event that logs when it is recorded and waited for."""

    def __init__(self, name: str, log: list[str]):
        self.name, self.log = name, log

    def record(self, stream):
        self.log.append(f"{self.name} recorded on {stream}")

    def synchronize(self):
        self.log.append(f"{self.name} waited for")


def test_a_pinned_place_is_waited_for_before_it_is_used_again(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    buffers, log = HostBuffers((2,), torch.uint8, "cpu"), []
    buffers.events = [Event("a", log), Event("b", log)]
    target = torch.zeros(2, dtype=torch.uint8)
    for value in (1, 2, 3):
        buffers.upload(np.full(2, value, np.uint8), target)
    assert log == [
        line for name in "bab" for line in (f"{name} waited for", f"{name} recorded on stream of cpu")
    ]
    log.clear()
    assert buffers.download(target).tolist() == [3, 3]
    assert log == ["a waited for", "a recorded on stream of cpu", "a waited for"]


class Mark:
    """Stand-in timing event whose device times come from a list and lag behind the host launches."""

    def __init__(self, device_ms: list[float], asked: list[str]):
        self.device_ms, self.asked = device_ms, asked

    def __call__(self, *, enable_timing: bool) -> "Mark":
        assert enable_timing
        return Mark(self.device_ms, self.asked)

    def record(self, stream):
        self.asked.append(stream)
        self.at_ms = self.device_ms.pop(0)

    def elapsed_time(self, end: "Mark") -> float:
        self.asked.append("elapsed")
        return end.at_ms - self.at_ms


def test_laps_on_cuda_are_the_devices_time_and_wait_for_nothing(monkeypatch):
    """The host launches everything within 3 ms, the device works for 21 ms, and the frame takes 25 ms."""
    host_s, asked = [0.0, 0.001, 0.002, 0.003, 0.003, 0.025], []
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    clock = Stopwatch(
        torch.device("cuda:1"), clock=lambda: host_s.pop(0), mark=Mark([0.0, 1.0, 9.0, 20.0, 21.0], asked)
    )
    for stage in ("upload", "denoise", "denoise", "decode"):
        clock.lap(stage)
    assert asked == ["stream of cuda:1"] * 5  # no event is read before the frame's single wait
    clock.finish("download")
    assert clock.stage_ms == pytest.approx(
        {"upload": 1.0, "denoise": 19.0, "decode": 1.0, "download": 4.0}, abs=1e-9
    )


def test_laps_elsewhere_are_the_hosts_time():
    host_s = [0.0, 0.002, 0.005, 0.006]
    clock = Stopwatch(torch.device("cpu"), clock=lambda: host_s.pop(0))
    clock.lap("denoise")
    clock.lap("denoise")
    clock.finish("download")
    assert clock.stage_ms == pytest.approx({"denoise": 5.0, "download": 1.0})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_graph():
    weight = torch.randn(64, 64, device="cuda")
    graphs = FrameGraphs(lambda key: lambda x: (x @ weight).relu())
    x = torch.randn(8, 64, device="cuda")
    expected = graphs.run((8, 1), x=x)
    assert not graphs.rest()
    assert torch.equal(graphs.run((8, 1), x=x), expected) and graphs.why_eager == ""
    buffers = HostBuffers((8, 64), torch.float32, "cuda")
    assert np.array_equal(buffers.download(buffers.upload(x.cpu().numpy(), x)), x.cpu().numpy())
