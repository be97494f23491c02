"""Tests of the fair lock: the key with the least time goes next, and waiting time is not counted."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from models.api import Cancelled, Frame, Request
from renderer.race.column import Column
from renderer.race.fair_lock import FairLock, LockedModel


class Clock:
    """Clock that advances only during work, so measured times are exact even on a busy machine."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def work(self, seconds: float) -> None:
        time.sleep(seconds)
        self.now_s += seconds


def work(lock: FairLock, clock: Clock, key: str, pieces: int, log: list, times: dict) -> None:
    try:
        lock.begin(key)
        for index in range(pieces):
            if index:
                lock.rest(key)
            log.append(key)
            clock.work(0.01)
    finally:
        times[key] = lock.end(key)


def test_long_work_does_not_hold_up_the_short():
    clock, log, times = Clock(), [], {}
    lock = FairLock(clock)
    long = threading.Thread(target=work, args=(lock, clock, "long", 12, log, times))
    long.start()
    time.sleep(0.015)
    short = threading.Thread(target=work, args=(lock, clock, "short", 2, log, times))
    short.start()
    short.join(5)
    assert log.count("long") <= 6  # it continues after the short one
    long.join(5)
    assert log.count("long") == 12
    assert times["short"] == pytest.approx(0.02)  # work time without waiting time
    assert times["long"] == pytest.approx(0.12)


def test_who_was_idle_does_not_catch_up():
    now = [0.0]
    lock = FairLock(clock=lambda: now[0])
    lock.begin("busy")
    now[0] += 10
    lock.rest("busy")
    done = threading.Event()

    def late():
        lock.begin("late")
        now[0] += 1
        lock.end("late")
        done.set()

    thread = threading.Thread(target=late)
    thread.start()
    time.sleep(0.05)
    now[0] += 2
    assert lock.end("busy") == 12
    assert done.wait(2)
    assert lock._used["late"] >= 11
    thread.join(2)


def test_a_close_frees_those_who_wait():
    lock, freed = FairLock(), threading.Event()
    lock.begin("one")

    def wait():
        with pytest.raises(Cancelled):
            lock.begin("two")
        freed.set()

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.02)
    lock.close()
    assert freed.wait(2)
    thread.join(2)


class Slow:
    """Work of three pieces of 10 ms."""

    card = None

    def __init__(self, clock: Clock):
        self.clock = clock

    def render(self, request, *, cancelled):
        for index in range(3):
            if index:
                assert not cancelled()
            self.clock.work(0.01)
        return Frame(request, np.zeros((32, 32, 3), np.uint8))

    def close(self):
        pass


def test_a_model_tells_the_time_it_held_the_machine():
    clock = Clock()
    frame = LockedModel(Slow(clock), FairLock(clock), "a").render(Request(np.zeros((32, 32, 4), np.uint8)))
    assert frame.stage_ms["own"] == pytest.approx(30)


def test_a_column_has_pictures_and_figures():
    clock = Clock()
    lock = FairLock(clock)
    column = Column("slow", lambda: Slow(clock), lock)
    deadline = time.perf_counter() + 5
    while not column.ready and time.perf_counter() < deadline:
        time.sleep(0.01)
    column.submit(Request(np.zeros((32, 32, 4), np.uint8), sequence=1), time.perf_counter())
    while column.picture is None and time.perf_counter() < deadline:
        column.collect(time.perf_counter())
        time.sleep(0.005)
    column.flipped(time.perf_counter())
    figures = column.figures(time.perf_counter(), 1.0)
    assert figures["frames"] == 1 and figures["own_ms"] == pytest.approx(30)
    assert figures["own_fps"] == round(1e3 / figures["own_ms"], 2)
    assert figures["pen_to_picture_ms"]["p50"] > 25 and figures["problem"] is None
    lock.close()
    assert column.close()
