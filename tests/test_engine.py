"""Tests of the engine: failures as values, one restart after a crash, model swaps without a gap."""

from __future__ import annotations

import gc
import os
import threading
import time

import numpy as np
import pytest
from loop_harness import SlowModel

from models.api import Cancelled, Failure, Frame, ModelError, Rect, Request
from renderer.runtime import engine as engine_module
from renderer.runtime.engine import REST_S, WORKER_NICENESS, Engine

PAPER = np.zeros((256, 256, 4), np.uint8)
DIRTY = Rect(0, 0, 9, 9)


@pytest.fixture
def engine():
    made = Engine()
    yield made
    made.close()


def wait(condition, timeout_s: float = 10.0) -> None:
    end_s = time.perf_counter() + timeout_s
    while not condition():
        assert time.perf_counter() < end_s, "waited in vain"
        time.sleep(0.002)


def result(engine: Engine):
    found = []
    wait(lambda: found.append(engine.poll()) or found[-1] is not None)
    return found[-1]


def start(engine: Engine, model) -> None:
    engine.load(model)
    wait(lambda: engine.state != "loading" and not engine.loading)


def test_a_model_is_loaded_and_serves_on_a_thread_of_its_own(engine):
    assert engine.state == "waiting"
    model = SlowModel()
    start(engine, model)
    assert (engine.state, engine.card) == ("ready", model.card)
    engine.submit(Request(PAPER, 1, dirty=DIRTY))
    frame = result(engine)
    assert isinstance(frame, Frame) and frame.request.sequence == 1
    assert threading.get_ident() not in model.threads
    assert not engine.busy and engine.calls == 1


def test_a_model_does_what_it_put_off_on_its_thread_once_no_request_has_come_for_a_while(engine):
    class PutsOff(SlowModel):
        def __init__(self):
            super().__init__()
            self.rests: list[tuple[int, float]] = []

        def rest(self) -> bool:
            self.rests.append((threading.get_ident(), time.perf_counter()))
            return False

    model = PutsOff()
    start(engine, model)
    for sequence in range(1, 4):
        engine.submit(Request(PAPER, sequence, dirty=DIRTY))
        result(engine)
    served_s = time.perf_counter()
    before = len(model.rests)
    wait(lambda: len(model.rests) > before)
    thread, rested_s = model.rests[before]
    assert rested_s - served_s > REST_S / 2 and {thread} == set(model.threads)


def test_a_failure_is_a_value_and_the_next_request_is_served(engine):
    model = SlowModel()
    model.failures = [ModelError("two words\nand more")]
    start(engine, model)
    engine.submit(Request(PAPER, 1, dirty=DIRTY))
    failure = result(engine)
    assert isinstance(failure, Failure)
    assert (failure.message, failure.trace) == ("two words", "")
    engine.submit(Request(PAPER, 2, dirty=DIRTY))
    assert result(engine).request.sequence == 2


@pytest.mark.parametrize("crash", [RuntimeError("a fault"), MemoryError(), SystemExit(3)])
def test_a_crash_restarts_the_model_once(engine, crash):
    model, loads = SlowModel(), []
    start(engine, lambda: (loads.append(1), model)[1])
    model.failures = [crash, crash, crash]
    for sequence in (1, 2, 3):
        engine.submit(Request(PAPER, sequence, dirty=DIRTY))
        failure = result(engine)
        assert type(crash).__name__ in failure.message and "Traceback" in failure.trace
    wait(lambda: len(loads) == 2)
    engine.submit(Request(PAPER, 4, dirty=DIRTY))
    assert isinstance(result(engine), Frame)
    time.sleep(0.15)
    assert len(loads) == 2


@pytest.mark.parametrize("crash", [ModelError("no weights"), ImportError("no torch"), SystemExit()])
def test_a_model_that_cannot_be_loaded_leaves_the_present_one(engine, crash):
    def bad():
        raise crash

    start(engine, bad)
    assert engine.state == "failed" and engine.error
    start(engine, SlowModel())
    assert (engine.state, engine.error) == ("ready", "")
    start(engine, bad)
    assert engine.state == "ready" and engine.error
    engine.submit(Request(PAPER, 1, dirty=DIRTY))
    assert isinstance(result(engine), Frame)


def test_the_model_before_is_closed_when_another_is_there(engine):
    one, two = SlowModel(), SlowModel()
    start(engine, one)
    engine.load(two)
    wait(lambda: engine.state == "ready" and engine.card is two.card)
    assert (one.closed, two.closed) == (1, 0)
    assert engine.close() and engine.close()
    assert two.closed == 1


def test_the_present_model_serves_until_the_new_one_has_made_a_picture(engine):
    old, gate = SlowModel(), threading.Event()
    new = SlowModel()
    start(engine, old)
    engine.submit(Request(PAPER, 1, dirty=DIRTY))
    assert isinstance(result(engine), Frame)
    engine.load(lambda: (gate.wait(5), new)[1], "new")
    engine.submit(Request(PAPER, 2, dirty=DIRTY))
    assert result(engine).request.sequence == 2 and engine.loading
    assert (engine.state, engine.card, len(new.requests)) == ("ready", old.card, 0)
    gate.set()
    wait(lambda: engine.card is new.card)
    assert len(new.requests) == 1 and not engine.loading


def test_a_load_is_given_up_and_the_present_model_stays(engine):
    old, new, gate = SlowModel(), SlowModel(), threading.Event()
    engine.load(old, "old")
    wait(lambda: engine.state == "ready")
    engine.load(lambda: (gate.wait(5), new)[1], "new")
    engine.load(old, "old")  # requests the model that is already serving
    assert not engine.loading
    gate.set()
    wait(lambda: new.closed == 1)
    assert engine.card is old.card and old.closed == 0 and not engine.error


def test_the_way_back_takes_no_load(engine):
    models = {name: SlowModel() for name in ("a", "b", "c")}
    loads = []

    def load(name):
        engine.load(lambda: (loads.append(name), models[name])[1], name)
        wait(lambda: engine.card is models[name].card)

    for name in ("a", "b", "a", "b", "c"):
        load(name)
    assert loads == ["a", "b", "c"]
    wait(lambda: models["a"].closed == 1)  # only the previous model is kept
    assert engine.close() and (models["b"].closed, models["c"].closed) == (1, 1)


class Steps(SlowModel):
    """Model with steps of 50 ms that checks for cancellation before each step."""

    def render(self, request, *, cancelled):
        self.requests.append(request)
        for _ in range(request.steps):
            if cancelled():
                raise Cancelled
            self.serving.set()
            time.sleep(0.05)
        return super().render(request)


def test_a_refinement_gives_way_at_once_to_a_request_with_something_new(engine):
    model = Steps()
    start(engine, model)
    engine.submit(Request(PAPER, 1, steps=4))
    assert model.serving.wait(5)
    engine.submit(Request(PAPER, 2, dirty=DIRTY))
    assert result(engine).request.sequence == 2
    assert engine.poll() is None


def test_what_shows_something_new_is_never_cancelled(engine):
    """Otherwise a pen that never pauses would never get a picture of many steps."""
    model = Steps()
    start(engine, model)
    engine.submit(Request(PAPER, 1, steps=4, dirty=DIRTY))
    assert model.serving.wait(5)
    engine.submit(Request(PAPER, 2, dirty=DIRTY))
    assert [result(engine).request.sequence, result(engine).request.sequence] == [1, 2]


def test_the_painter_stops_between_two_steps(painter):
    asked = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) == 2

    with pytest.raises(Cancelled):
        painter.render(Request(PAPER, steps=4), cancelled=cancelled)
    assert len(asked) == 2
    painter.render(Request(PAPER, steps=1), cancelled=lambda: True)


@pytest.mark.skipif(not hasattr(os, "getpriority") or os.uname().sysname != "Linux", reason="Linux only")
def test_the_worker_lets_the_pen_go_first(engine):
    nice = []

    def load():
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return SlowModel()

    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    start(engine, load)
    assert nice == [min(19, own + WORKER_NICENESS)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


def test_close_does_not_wait_for_a_model_that_hangs():
    engine, gate = Engine(), threading.Event()
    model = SlowModel(gate=gate)
    start(engine, model)
    engine.submit(Request(PAPER, 1, dirty=DIRTY))
    assert model.serving.wait(5)
    began = time.perf_counter()
    assert not engine.close(timeout_s=0.1)
    assert time.perf_counter() - began < 1
    gate.set()
    assert engine.close()


class Threads(SlowModel):
    """Model that records the threads of its load, calls and close; close waits for `closing`."""

    def __init__(self) -> None:
        super().__init__()
        self.closing, self.close_began = threading.Event(), threading.Event()
        self.closing.set()

    def __call__(self) -> Threads:
        self.threads.add(threading.get_ident())
        return self

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.close_began.set()
        assert self.closing.wait(10)
        super().close()


def test_a_model_is_loaded_called_and_closed_by_one_thread(engine):
    """This includes its first picture, made while another model is serving."""
    models = {name: Threads() for name in "ab"}
    engine.load(models["a"], "a")
    wait(lambda: engine.name == "a")
    engine.submit(Request(PAPER, 1, dirty=DIRTY))
    assert result(engine).request.sequence == 1
    engine.load(models["b"], "b")
    wait(lambda: engine.name == "b")
    engine.submit(Request(PAPER, 2, dirty=DIRTY))
    assert result(engine).request.sequence == 2
    assert engine.close()
    assert len(models["b"].requests) == 2 and all(model.closed == 1 for model in models.values())
    assert [len(model.threads) for model in models.values()] == [1, 1]
    assert models["a"].threads.isdisjoint(models["b"].threads)


def test_the_model_asked_for_last_serves_while_the_one_before_is_being_closed(engine):
    """b is requested while c takes over: name and card become b's even if closing a is slow."""
    models = {name: Threads() for name in "abc"}
    for name in "ab":
        engine.load(models[name], name)
        wait(lambda name=name: engine.name == name)
    models["a"].closing.clear()
    engine.load(models["c"], "c")
    assert models["a"].close_began.wait(5)
    engine.load(models["b"], "b")
    models["a"].closing.set()
    wait(lambda: models["a"].closed == 1)
    assert engine.name == "b" and engine.card is models["b"].card and not engine.loading
    served = len(models["b"].requests)
    engine.submit(Request(PAPER, 1, dirty=DIRTY))
    assert isinstance(result(engine), Frame)
    assert len(models["b"].requests) == served + 1 and not models["c"].requests


def test_good_frames_give_the_restart_back(engine, monkeypatch):
    monkeypatch.setattr(engine_module, "RESTART_AFTER_FRAMES", 3)
    model, loads = SlowModel(), []
    start(engine, lambda: (loads.append(1), model)[1])
    for crash in range(2):
        model.failures = [RuntimeError("a fault")]
        for sequence in range(4):  # a crash, then three pictures
            engine.submit(Request(PAPER, 10 * crash + sequence, dirty=DIRTY))
            assert isinstance(result(engine), Frame if sequence else Failure)
        wait(lambda crash=crash: len(loads) == 2 + crash)


def test_closing_an_engine_leaves_frozen_objects_frozen(engine):
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        assert engine.close() and gc.get_freeze_count() == frozen > 0
    finally:
        gc.unfreeze()
