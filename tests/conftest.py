"""Shared fixtures: desks to paint at, and the real painter."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ["FLOWBRUSH_DATA"] = tempfile.mkdtemp(prefix="flowbrush-tests-")  # nobody's own logs

from easel import ROOT, Desk
from films import circle, log

from renderer.actions import Change


@pytest.fixture
def desk():
    """A maker of desks that are cleared when the test ends."""
    made: list[Desk] = []

    def make(load, **settings) -> Desk:
        made.append(Desk(load, **settings))
        return made[-1]

    yield make
    for one in made:
        one.app.close()


@pytest.fixture
def program(capfd, monkeypatch):
    """Runs the command line in this process, for each start of another takes seconds."""

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
    """What the command line says to bad words: one line, exit code 1."""

    def run(*words) -> str:
        done = program(*words)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.startswith("flowbrush: error: ") and done.stderr.count("\n") == 1, done
        return done.stderr

    return run


@pytest.fixture(scope="session")
def painter_file(tmp_path_factory) -> Path:
    """The real painter: the weights in assets/; the same network with random ones where there are none."""
    path = ROOT / "assets" / "painter.safetensors"
    if path.is_file():
        return path
    import torch

    from models.checkpoint import save
    from models.network import PainterNetwork

    torch.manual_seed(0)
    network = PainterNetwork()
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save(path, network.state_dict(), network.config.as_dict(), dtype=torch.bfloat16)
    return path


@pytest.fixture(scope="session")
def painter(painter_file):
    """The real painter, loaded once."""
    from models import painter

    return painter.load(painter_file, device="cpu", dtype="float32")


@pytest.fixture
def strokes(tmp_path):
    """A log of 3.5 seconds: paint, another seed in the middle, more paint."""
    actions = [*circle(0), *circle(1), Change("seed", 5), *circle(2), *circle(3)]
    return log(tmp_path / "log.jsonl", actions)


@pytest.fixture(scope="session")
def paper() -> np.ndarray:
    """Sky over forest over water, with a blank stripe."""
    made = np.zeros((256, 256, 4), np.uint8)
    made[:120] = (118, 169, 222, 255)
    made[120:170] = (38, 72, 44, 255)
    made[190:] = (44, 98, 138, 255)
    return made
