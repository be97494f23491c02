"""What the graphs of a frame decide, on a CPU: only the capture itself is a stand-in."""

import numpy as np
import pytest
import torch

from models.device.cuda_graphs import FrameGraphs, HostBuffers
from models.device.stopwatch import Stopwatch


def stand_in(function, inputs):
    """Captures by holding on to function and places; a replay runs it and writes into the same result."""
    output = function(**inputs)
    return lambda: output.copy_(function(**inputs)), output


class Later:
    """A thread that works when it is told to."""

    def __init__(self):
        self.work = []

    def __call__(self, work):
        self.work.append(work)

    def finish(self):
        for work in self.work:
            work()
        self.work = []


@pytest.fixture
def later():
    return Later()


@pytest.fixture
def graphs(later):
    return FrameGraphs(lambda key: lambda x, gain: x * gain * key, capture=stand_in, spawn=later)


def inputs(value=1.0, size=3):
    return {"x": torch.full((size,), value), "gain": torch.tensor([2.0])}


def test_eager_until_the_graph_is_there(graphs, later):
    assert graphs.run(5, **inputs()).tolist() == [10] * 3
    assert graphs.why_eager == "a CUDA graph is being captured"
    assert graphs.run(5, **inputs(2.0)).tolist() == [20] * 3
    assert len(later.work) == 1  # asked for once
    later.finish()
    assert graphs.run(5, **inputs(3.0)).tolist() == [30] * 3
    assert graphs.why_eager == "" and graphs.keys == (5,)


def test_the_present_graph_serves_while_another_is_captured(graphs, later):
    graphs.run(1, **inputs())
    later.finish()
    graphs.run(2, **inputs(size=7))
    assert graphs.why_eager
    assert graphs.run(1, **inputs(4.0)).tolist() == [8] * 3
    assert graphs.why_eager == ""
    later.finish()
    assert graphs.run(2, **inputs(size=7)).tolist() == [4] * 7
    assert graphs.keys == (1, 2)


def test_a_graph_owns_its_places(graphs, later):
    given = inputs()
    graphs.run(1, **given)
    later.finish()
    first = graphs.run(1, **given)
    given["x"].fill_(100)
    assert first.tolist() == [2] * 3
    second = graphs.run(1, **inputs(5.0))
    assert second.data_ptr() == first.data_ptr()
    assert given["x"].tolist() == [100] * 3  # nothing is written to what the caller holds


def test_changed_weights_forget_all_graphs(graphs, later):
    for key in (1, 2):
        graphs.run(key, **inputs())
        later.finish()
    graphs.invalidate()
    assert graphs.keys == ()
    graphs.run(1, **inputs())
    graphs.invalidate()  # while it is captured: that graph has read the old weights
    later.finish()
    assert graphs.keys == ()
    graphs.run(1, **inputs())
    later.finish()
    assert graphs.keys == (1,)


def test_a_capture_that_fails_leaves_the_frame_and_says_why(later):
    def refuse(function, inputs):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    graphs = FrameGraphs(lambda key: lambda x, gain: x * gain, capture=refuse, spawn=later)
    graphs.run(1, **inputs())
    later.finish()
    assert graphs.run(1, **inputs()).tolist() == [2] * 3
    assert graphs.why_eager == "no CUDA graph: operation not permitted when stream is capturing"
    assert not later.work  # not tried again
    graphs.invalidate()
    graphs.run(1, **inputs())
    assert len(later.work) == 1


def test_one_capture_at_a_time(graphs, later):
    graphs.run(1, **inputs())
    graphs.run(2, **inputs())
    assert len(later.work) == 1
    later.finish()
    graphs.run(2, **inputs())
    later.finish()
    assert graphs.keys == (1, 2)


def test_the_oldest_graph_goes_first(later):
    graphs = FrameGraphs(lambda key: lambda x, gain: x * key, capture=stand_in, spawn=later, max_graphs=2)
    for key in (1, 2):
        graphs.run(key, **inputs())
        later.finish()
    graphs.run(1, **inputs())
    graphs.run(3, **inputs())
    later.finish()
    assert graphs.keys == (1, 3)


def test_inputs_that_do_not_fit_are_named(graphs, later):
    graphs.run(1, **inputs())
    later.finish()
    with pytest.raises(ValueError, match=r"graph 1 takes .*\(3,\).* not .*\(4,\)"):
        graphs.run(1, **inputs(size=4))
    with pytest.raises(ValueError, match="graph 1 takes"):
        graphs.run(1, x=torch.zeros(3))


def test_capture_in_a_real_thread():
    graphs = FrameGraphs(lambda key: lambda x, gain: x * gain, capture=stand_in)
    for _ in range(1000):
        assert graphs.run(1, **inputs()).tolist() == [2] * 3
        if not graphs.why_eager:
            return
    pytest.fail("the graph never came")


def test_host_buffers_take_turns():
    buffers = HostBuffers((2, 3), torch.uint8, "cpu")
    target = torch.zeros(2, 3, dtype=torch.uint8)
    arrays = [np.full((2, 3), value, np.uint8) for value in (1, 2, 3)]
    seen = []
    for array in arrays:
        buffers.upload(array, target)
        seen.append(buffers.download(target))
    assert [int(array[0, 0]) for array in seen] == [1, 2, 3]  # each its own memory
    assert len({place.data_ptr() for place in buffers.places}) == 2


class Event:
    """What a frame does with the events of its pinned places, written down."""

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
    """An event of a device that works through its stream later than the host launches: by a list of times."""

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
    """The host has launched all within 3 ms; the device works for 21, and a frame takes 25."""
    host_s, asked = [0.0, 0.001, 0.002, 0.003, 0.003, 0.025], []
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    clock = Stopwatch(
        torch.device("cuda:1"), clock=lambda: host_s.pop(0), mark=Mark([0.0, 1.0, 9.0, 20.0, 21.0], asked)
    )
    for stage in ("upload", "denoise", "denoise", "decode"):
        clock.lap(stage)
    assert asked == ["stream of cuda:1"] * 5  # before the frame's one wait no event is read
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
    later = Later()
    weight = torch.randn(64, 64, device="cuda")
    graphs = FrameGraphs(lambda key: lambda x: (x @ weight).relu(), spawn=later)
    x = torch.randn(8, 64, device="cuda")
    expected = graphs.run((8, 1), x=x)
    later.finish()
    assert torch.equal(graphs.run((8, 1), x=x), expected) and graphs.why_eager == ""
    buffers = HostBuffers((8, 64), torch.float32, "cuda")
    assert np.array_equal(buffers.download(buffers.upload(x.cpu().numpy(), x)), x.cpu().numpy())
