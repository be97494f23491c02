"""Columns of a race: their notation and their models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.api import Frame, ModelCard, ModelError, Request
from models.lab import racer
from models.painter.contenders import Contender
from models.painter.network import NetworkConfig, PainterNetwork
from models.sampling.paths import path_of

ROOT = Path(__file__).resolve().parent.parent
SMALL = NetworkConfig(widths=(8, 8, 16), blocks=(0, 0, 1, 0, 0), embedding=16)


@pytest.mark.parametrize(("kind", "sampler"), [("flow", "flow-euler"), ("cosine", "dpm++2m")])
def test_a_racer_makes_the_same_picture_again(kind, sampler):
    torch.manual_seed(0)
    network = PainterNetwork(SMALL).eval().requires_grad_(False)
    one = racer.Racer(Contender("x", network, path_of(kind)), sampler, 3, torch.float32)
    paper = np.random.default_rng(0).integers(0, 256, (256, 256, 4), np.uint8)
    asked = []
    made = [
        one.render(Request(paper, seed=5), cancelled=lambda: bool(asked.append(1))).picture for _ in range(2)
    ]
    assert np.array_equal(*made) and made[0].shape == (256, 256, 3) and len(asked) == 4
    assert one.gflop(256, 256, 1) == pytest.approx(3 * network.gflop(256, 256))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("foo:3", "no contender is named 'foo'"),
        ("teacher:foo:3", "no sampler is named 'foo'; choose ddpm"),
        ("teacher:ddpm:3", "sampler ddpm cannot be used on a flow"),
        ("teacher:ddim:0", "1 to 1000 steps, not 0"),
        ("teacher:ddim:-4", "1 to 1000 steps, not -4"),
        ("teacher:ddim:x", "does not end in a number of steps"),
        ("painter:ddim:3:4", "write model:sampler:steps"),
        ("painter-teacher:9", "takes 1 to 4 steps, not 9"),
        ("painter-teacher:ddim:2", "has no choice of samplers"),
        ("sd-turbo:30", "takes 1 to 4 steps, not 30"),
        ("absent.safetensors:ddim:3", "no weights at absent.safetensors"),
        ("assets/teacher.safetensors:ddpm:3", "sampler ddpm cannot be used on a flow"),
        ("assets/diffusion-linear.safetensors:flow-euler:3", "flow-euler cannot be used on a diffusion"),
    ],
)
def test_bad_columns_are_told(spec, words, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ModelError, match=words.replace("+", r"\+")):
        racer.entrant(spec)


@pytest.mark.parametrize("columns", ["", ",", " , ", "painter,", ",painter", "painter,,teacher"])
def test_a_list_with_a_gap_is_told(columns):
    with pytest.raises(ModelError, match="names nothing at one place"):
        racer.field(columns)


def test_a_race_has_room_for_so_many():
    with pytest.raises(ModelError, match="room for 6 columns, not 7"):
        racer.field(",".join(["painter"] * 7))


def test_columns_in_full():
    found, missing = racer.entrants(
        ["teacher", "painter", "teacher:dpm++2m", "teacher:8", "painter-teacher:3"]
    )
    assert found == [
        "teacher:flow-euler:4",
        "painter:flow-euler:1",
        "teacher:dpm++2m:4",
        "teacher:flow-euler:8",
        "painter-teacher:3",
    ]
    assert not missing


def test_a_pretrained_model_races_in_its_family():
    found, _, _ = racer.field(None, model="sd-turbo")
    assert "sd15:dpm++2m:30" in found and found[-1] == "sd-turbo:1"
    assert racer.field(None, model="flux-schnell")[0] == [
        "flux-schnell:8",
        "flux-schnell:4",
        "flux-schnell:1",
    ]
    with pytest.raises(ModelError, match="no model is named 'foo'"):
        racer.field(None, model="foo")


def test_a_model_of_the_registry_takes_the_steps_of_its_column(monkeypatch):
    seen = {}

    class Model:
        card = ModelCard("sd15")

        def render(self, request, *, cancelled):
            seen["steps"] = request.steps
            return Frame(request, request.paper[..., :3])

    def registered(name, **extras):
        seen.update(extras, name=name)
        return Model

    monkeypatch.setattr(racer.registry, "loader", registered)
    made = racer.loader("sd15:dpm++2m:30")()
    made.render(Request(np.zeros((32, 32, 4), np.uint8)), cancelled=lambda: False)
    assert seen == {"steps": 30, "sampler": "dpm++2m", "name": "sd15"}
    assert made.card.name == "sd15, dpm++2m, 30"
