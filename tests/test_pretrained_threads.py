"""Thread safety of serving: frames during preparation of others, and changes during graph captures."""

from __future__ import annotations

import random
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from recorded_graph import record_graph
from small_flows import PIPELINES, SAVERS
from small_models import lora_weights, painted, save_lora, save_sd, save_sdxl

from models.api import Request
from models.device.cuda_graphs import CaptureGate
from models.pretrained.loading import loader
from renderer.runtime.engine import Engine

pytestmark = pytest.mark.slow  # importing diffusers takes seconds
FAMILIES = {"sd": partial(save_sd, tiny=True), "sdxl": save_sdxl, **SAVERS}
CHANGES = 200


@pytest.fixture(autouse=True)
def short_rest(monkeypatch):
    """Start captures almost at once when idle, so that changes arrive during them."""
    monkeypatch.setattr("renderer.runtime.engine.REST_S", 0.002)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home, saved = tmp_path_factory.mktemp("models"), {}

    def make(name: str) -> Path:
        if name not in saved:
            saved[name] = FAMILIES[name](home / name)
        return saved[name]

    return make


def load(path: Path, **options):
    return loader.load(str(path), loader.Options(device="cpu", dtype="float32", fuse=True, **options))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_frame_runs_while_another_is_prepared(folder, name):
    """Another thread runs the denoiser repeatedly on fixed inputs while strength and steps change."""
    model, seen = load(folder(name)), {}
    run = model.family.run
    model.family.run = lambda part, **inputs: seen.update({part: inputs}) or run(part, **inputs)
    model.render(Request(painted(), prompt="a lake", strength=0.5))
    inputs = {key: value.clone() for key, value in seen["forward"].items()}
    with torch.inference_mode():
        wanted = model.family.forward(**inputs)
    stop, runs, problems = threading.Event(), [], []

    def serve() -> None:
        with torch.inference_mode():
            while not stop.is_set():
                try:
                    runs.append(torch.equal(model.family.forward(**inputs), wanted))
                except Exception as error:
                    problems.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=serve)
    thread.start()
    count = 0
    while count < CHANGES or len(runs) + len(problems) < 20:
        count += 1
        model.prepare(
            Request(painted(), prompt="a lake", strength=0.2 + 0.7 * (count % 97) / 97, steps=count % 3 + 1)
        )
    stop.set()
    thread.join()
    assert not problems and all(runs), (problems[:3], runs.count(False), len(runs))


SETTINGS = {
    "prompt": ("a lake", "lake a"),
    "strength": (0.4, 0.7, 0.95),
    "steps": (1, 2),
    "seed": (3, 4),
}
SIDES = (256, 288)


def settings(rng: random.Random, kinds: int, scales: tuple[float, ...]) -> list[dict]:
    """Draw `kinds` distinct sets of request values."""
    made: list[dict] = []
    while len(made) < kinds:
        one = {name: rng.choice(values) for name, values in SETTINGS.items()}
        one |= {"lora_scale": rng.choice(scales), "side": rng.choice(SIDES)}
        made += [one] * (one not in made)
    return made


def request_of(one: dict, sequence: int = 0) -> Request:
    rest = {name: value for name, value in one.items() if name != "side"}
    return Request(painted(one["side"]), sequence=sequence, **rest)


def slow_capture(function, inputs):
    """Capture slowly enough for changes to arrive meanwhile."""
    made = record_graph(function, inputs)
    time.sleep(0.02)
    return made


def changed_while_capturing(model, *, kinds: int, scales: tuple[float, ...] = (1.0,)) -> int:
    """Submit hundreds of changes to the engine while graphs are captured; returns the number of captures.

    Every frame must be bit-identical to the expected picture of its request, and the last change before each
    wait must arrive.
    """
    rng = random.Random(1)
    known = settings(rng, kinds, scales)
    wanted = [model.render(request_of(one)).picture for one in known]
    captures = []

    def capture(function, inputs):
        captures.append(threading.current_thread().name)
        return slow_capture(function, inputs)

    model.use_graphs(capture=capture, gate=CaptureGate())
    engine, served = Engine(), 0
    engine.load(lambda: model, "small")
    asked: list[int] = []
    waits = 0
    try:
        while len(asked) < CHANGES:
            for _ in range(rng.randint(1, 40)):
                choice = rng.randrange(kinds)
                engine.submit(request_of(known[choice], len(asked)))
                asked.append(choice)
                if rng.random() < 0.2:
                    time.sleep(0.01)
            waits += 1
            last = wait_for(engine, len(asked) - 1, asked, wanted)
            served += last
            time.sleep(rng.choice((0.0, 0.05)))  # idle, or not
    finally:
        assert engine.close(60)
    assert served >= waits and len(set(captures)) <= 1
    return len(captures)


def wait_for(engine: Engine, sequence: int, asked: list[int], wanted: list[np.ndarray]) -> int:
    """Take frames and check each against its request, up to this sequence number; returns their count."""
    end_s, count = time.perf_counter() + 120, 0
    while time.perf_counter() < end_s:
        frame = engine.poll()
        if frame is None:
            time.sleep(0.002)
            continue
        assert hasattr(frame, "picture"), getattr(frame, "trace", "") or frame.message
        count += 1
        number = frame.request.sequence
        assert np.array_equal(frame.picture, wanted[asked[number]]), f"change {number} shows another picture"
        if number == sequence:
            return count
    raise AssertionError(f"the frame of change {sequence} never came")


@pytest.mark.parametrize("name", FAMILIES)
def test_changes_while_graphs_are_captured(folder, name):
    """Prompt, strength, steps, seed and size change; encode, denoise and decode have graphs at each size."""
    assert changed_while_capturing(load(folder(name)), kinds=5) >= 3


@pytest.mark.parametrize("name", ["sd", "sd3"])
def test_lora_scales_that_change_while_graphs_are_captured(folder, tmp_path, name):
    if name == "sd":
        file = save_lora(folder(name), tmp_path)
    else:
        network = load(folder(name)).family.network
        plain = type(network).from_pretrained(folder(name) / "transformer")
        PIPELINES[name].save_lora_weights(tmp_path, transformer_lora_layers=lora_weights(plain))
        (file,) = tmp_path.glob("*.safetensors")
    model = load(folder(name), lora=(str(file),))
    assert changed_while_capturing(model, kinds=8, scales=(0.0, 0.5, 1.0)) >= 3
