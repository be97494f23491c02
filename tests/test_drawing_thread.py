"""Tests that the drawing thread never compresses, encodes or decodes images, or replays history.

Such calls are recorded with their thread instead of being timed.
"""

from __future__ import annotations

import base64
import threading
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from loop_harness import SHARP, SlowModel

from renderer import persistence, rewind
from renderer.actions import Begin, Clear, Command, End, Extend, Fill, Redo, Undo
from renderer.canvas.canvas import Canvas
from renderer.canvas.storage.compression import wait_until_packed
from renderer.files import png
from renderer.persistence import Files
from renderer.stroke_log.log import read
from renderer.stroke_log.store import LogStore

LARGE_BYTES = 1 << 16  # smaller data compresses in under a millisecond


@pytest.fixture
def heavy(monkeypatch) -> dict[str, set[int]]:
    """Map of function name -> ids of the threads that called it with large data."""
    found: dict[str, set[int]] = {}

    def note(owner, name: str, size: Callable[..., int]) -> None:
        function = getattr(owner, name)

        def noted(*values, **named):
            if size(*values) >= LARGE_BYTES:
                found.setdefault(name, set()).add(threading.get_ident())
            return function(*values, **named)

        monkeypatch.setattr(owner, name, noted)

    note(zlib, "compress", lambda data, *_: memoryview(data).nbytes)
    note(png, "png_bytes", lambda pixels, *_: pixels.nbytes)
    note(persistence, "document_bytes", lambda stack: stack.pixels.nbytes)
    note(rewind, "document_bytes", lambda stack: stack.pixels.nbytes)
    note(persistence, "read_import", lambda *_: LARGE_BYTES)
    note(base64, "b64encode", lambda data: len(data))
    return found


@pytest.fixture
def applied(monkeypatch) -> list[int]:
    """Thread id of every applied edit."""
    threads: list[int] = []
    apply = Canvas.apply

    def noted(canvas, edit):
        threads.append(threading.get_ident())
        return apply(canvas, edit)

    monkeypatch.setattr(Canvas, "apply", noted)
    return threads


def noisy(one) -> None:
    """Noisy paper that compresses badly and therefore slowly."""
    layer = one.app.canvas.stack.layer
    layer.pixels[:] = np.random.default_rng(0).integers(0, 256, layer.pixels.shape, np.uint8)
    layer.pixels[..., 3] = 255
    one.app.canvas.stack.compose(one.app.canvas.whole)


def test_pen_up_and_clear_compress_nothing_on_the_drawing_thread(make_loop, heavy, tmp_path):
    one = make_loop(SlowModel(), side=512, files=Files(store=LogStore(tmp_path))).ready()
    noisy(one)
    one.do(Begin(SHARP, (100, 100, 0.8)), Extend(((400, 400, 0.8),)), End(), Clear())
    one.tick(2)
    one.until(lambda: "compress" in heavy)
    assert threading.get_ident() not in heavy["compress"]


def test_undo_and_redo_decompress_nothing_on_the_drawing_thread(make_loop, monkeypatch):
    """The compression thread keeps the next undo and redo change decompressed."""
    threads, decompress = [], zlib.decompress
    monkeypatch.setattr(
        zlib, "decompress", lambda *values: (threads.append(threading.get_ident()), decompress(*values))[1]
    )
    one = make_loop(SlowModel(), side=512).ready()
    noisy(one)
    for level in range(6):
        one.do(Fill((level, 9, 9), 5, 5), Clear())
        one.tick()
    papers = []
    for edit in [Undo()] * 8 + [Redo()] * 8:
        wait_until_packed()
        one.do(edit)
        one.tick()
        papers.append(one.app.canvas.pixels.tobytes())
    assert len(threads) > 4 and threading.get_ident() not in threads
    assert papers[:7] == papers[14:7:-1] and len(set(papers)) > 4


def test_saving_and_opening_pictures_happens_on_threads(make_loop, heavy, tmp_path):
    files = Files(log=tmp_path / "log.jsonl")
    one = make_loop(SlowModel(), side=512, save_folder=tmp_path, files=files).ready()
    noisy(one)
    one.do(Fill((9, 9, 9), 5, 5))
    one.rest()
    one.do(Command("save"))
    one.until(lambda: any(line.startswith("saved") for line in one.messages))
    (paper,) = tmp_path.glob("*-paper.png")
    one.do(Clear(), Command("load", str(paper)))
    one.tick()
    one.until(lambda: not one.app.canvas.blank)
    one.do(Fill((9, 9, 9), 5, 5), Clear())
    one.tick()
    one.app.persistence.close()
    assert {"png_bytes", "read_import", "b64encode"} <= set(heavy)
    assert threading.get_ident() not in set().union(*heavy.values())
    logged = [type(event.action).__name__ for event in read(tmp_path / "log.jsonl").events]
    logged = [kind for kind in logged if kind != "Change"]  # settings stored in the image file
    assert logged == ["Fill", "Clear", "Paste", "Fill", "Clear"], "no edit overtakes the image"


def test_rewind_replays_and_encodes_on_threads(make_loop, heavy, applied):
    """During ten seeks and a branch over hundreds of edits, the loop applies only the user's own edits."""
    one = make_loop(SlowModel(), side=512).ready()
    began_s, here = time.perf_counter() - 100, threading.get_ident()
    one.do(Begin(SHARP, (9, 9, 0.8)), at_s=began_s)
    for number in range(1, 500):
        one.do(Extend(((9.0 + number % 490, 200.0, 0.8),)), at_s=began_s + number * 0.01)
    one.do(End(), at_s=began_s + 5)
    one.tick()
    one.do(Command("rewind"))
    one.rewound()
    del applied[:]
    for seek in range(10):  # forward seeks: no edit is replayed twice
        one.do(Command("rewind.seek", began_s + 0.5 + seek * 0.4))
        one.rewound()
    assert applied.count(here) == 0 and 300 < len(applied) < 500
    one.do(Command("rewind.branch"))
    one.rewound()
    assert applied.count(here) == 1 and one.app.scene.rewind is None
    assert here not in heavy["document_bytes"]
    assert not any(here in threads for threads in heavy.values())
