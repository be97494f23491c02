"""Shared fixtures: loop harnesses, the command line, test data and the real painter."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ["FLOWBRUSH_DATA"] = tempfile.mkdtemp(prefix="flowbrush-tests-")  # not the user's logs

from loop_harness import ROOT, LoopHarness
from video_helpers import circle, log
from xserver import xserver  # noqa: F401  # a fixture

from renderer.actions import Change, Command, Fill

SKETCH = ROOT / "assets" / "sketches" / "lake.png"


@pytest.fixture
def make_loop():
    """Factory of LoopHarness objects that are closed when the test ends."""
    made: list[LoopHarness] = []

    def make(load, **settings) -> LoopHarness:
        made.append(LoopHarness(load, **settings))
        return made[-1]

    yield make
    for one in made:
        one.app.close()


@pytest.fixture
def program(capfd, monkeypatch):
    """Run the command line in this process; a new process would take seconds to start."""

    def run(*words) -> subprocess.CompletedProcess:
        from main import main

        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", ["flowbrush", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return subprocess.CompletedProcess(words, ended.value.code or 0, *capfd.readouterr())

    return run


@pytest.fixture
def refused(program):
    """Run the command line with bad arguments; check for exit code 1 and return the one-line error."""

    def run(*words) -> str:
        done = program(*words)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.startswith("flowbrush: error: ") and done.stderr.count("\n") == 1, done
        return done.stderr

    return run


@pytest.fixture(scope="session")
def painter_file(tmp_path_factory) -> Path:
    """Path of the painter's weights in assets/, or of random weights for the same network if missing."""
    path = ROOT / "assets" / "painter.safetensors"
    if path.is_file():
        return path
    import torch

    from models.checkpoint import save
    from models.painter.network import PainterNetwork

    torch.manual_seed(0)
    network = PainterNetwork()
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save(path, network.state_dict(), network.config.as_dict(), dtype=torch.bfloat16)
    return path


@pytest.fixture(scope="session")
def painter(painter_file):
    """The real painter in float32 on the CPU, loaded once per session."""
    from models.painter import painter

    return painter.load(painter_file, device="cpu", dtype="float32")


@pytest.fixture
def strokes(tmp_path):
    """Path of a 3.5-second stroke log: paint, a change of the seed in the middle, more paint."""
    actions = [*circle(0), *circle(1), Change("seed", 5), *circle(2), *circle(3)]
    return log(tmp_path / "log.jsonl", actions)


@pytest.fixture(scope="session")
def paper() -> np.ndarray:
    """Paper (256, 256, 4) uint8: sky over forest over water, with a blank stripe."""
    made = np.zeros((256, 256, 4), np.uint8)
    made[:120] = (118, 169, 222, 255)
    made[120:170] = (38, 72, 44, 255)
    made[190:] = (44, 98, 138, 255)
    return made


@pytest.fixture
def rendered(program, tmp_path):
    """Run `render` with a model that fails; return its one-line error, which follows any load progress."""
    output = tmp_path / "out.png"
    usual = ("--size", 256, "--device", "cpu", "--dtype", "float32")

    def rendered(model, *words) -> str:
        done = program("render", SKETCH, "-o", output, *usual, "--model", model, *words)
        *progress, line = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (1, "") and not output.exists()
        telling = ("flowbrush: loading ", "flowbrush: downloading ")
        assert all(before.startswith(telling) for before in progress), progress
        assert line.startswith("flowbrush: error: ")
        return line.removeprefix("flowbrush: error: ")

    return rendered


@pytest.fixture
def loop(painter):
    """The real loop with the real painter."""
    one = LoopHarness(lambda: painter).ready()
    yield one
    one.app.close()


@pytest.fixture
def told(rendered, loop, painter):
    """Error message for an unusable model: the same from `render` and the loop, which keeps the painter."""

    from models import registry

    def told(model, *words: str, **extras) -> str:
        line = rendered(model, *words)
        app, options = loop.app, {"device": "cpu", "dtype": "float32", **extras}
        app.switcher.load_model = lambda name, progress: registry.loader(name, progress=progress, **options)
        loop.do(Change("model", str(model)))
        loop.until(lambda: app.engine.error)
        loop.tick(2)
        assert app.scene.status.text == line and app.scene.params.model == app.engine.name == "painter"
        shown = loop.shown
        loop.do(Fill((len(line) % 256, shown % 256, 90), 5, 5))
        loop.until(lambda: loop.shown > shown)
        assert app.scene.card is painter.card and app.stats.errors == app.messages.errors == 0
        loop.do(Command("back"))
        loop.tick(2)
        assert app.scene.status.text == ""
        return line

    return told
