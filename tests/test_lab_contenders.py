"""Tests of the lab's contenders: diffusion loss and training; flows in the samplers' coordinates."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from models import checkpoint
from models.api import ModelError
from models.painter import contenders, diffusion, flow
from models.painter.flow import Condition
from models.painter.network import NetworkConfig, PainterNetwork
from models.sampling.paths import path_of
from models.training.color_painter import diffusion as training
from models.training.data.tensors import to_tensors
from models.training.evaluation import learning_curve
from models.training.evaluation.evaluate import HeldOut

SMALL = NetworkConfig(widths=(8, 8, 16), blocks=(0, 0, 1, 0, 0), embedding=16)


def condition_of(count: int, side: int = 32, strength: float = 0.6) -> Condition:
    draw = torch.Generator().manual_seed(3)
    alpha = (torch.rand(count, 1, side, side, generator=draw) > 0.5).float()
    sketch = (torch.rand(count, 3, side, side, generator=draw) * 2 - 1) * alpha
    return Condition(sketch, alpha, torch.full((count,), strength), torch.full((count, 7), 0.5))


def batch():
    rng = np.random.default_rng(1)
    sketch = rng.integers(0, 256, (2, 32, 32, 4), np.uint8)
    mood, strength = np.full((2, 7), 0.5, np.float32), np.full(2, 0.6, np.float32)
    return rng.integers(0, 256, (2, 32, 32, 3), np.uint8), sketch, mood, strength


def small_network() -> PainterNetwork:
    torch.manual_seed(0)
    return PainterNetwork(SMALL).eval().requires_grad_(False)


def contender(kind: str) -> contenders.Contender:
    return contenders.Contender(kind, small_network(), path_of(kind))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_noise_keeps_the_variance(schedule):
    data = torch.randn(600, 3, 4, 4)
    noised = diffusion.add_noise(data, path_of(schedule))
    assert noised.x_t.var().item() == pytest.approx(1, abs=0.03)
    assert noised.t.min() >= 0.001 and noised.t.max() <= 1
    clear = noised.t < 0.05
    assert (noised.x_t[clear] - data[clear]).square().mean() < 0.2


def test_the_right_noise_gives_back_the_picture():
    condition, path = condition_of(2), path_of("cosine")
    picture = torch.rand(2, 3, 32, 32) * 2 - 1
    data, noise = diffusion.residual(picture, condition), torch.randn(2, 3, 32, 32)
    a, b = path.scale(0.6)

    def knows(x, condition, t, step):
        return noise

    made = diffusion.denoise(knows, a * data + b * noise, condition, 0.6, path)
    assert torch.allclose(diffusion.picture(made, condition), picture, atol=1e-5)


def plain_euler(model, x, steps):
    """Euler's method on dx/dt = (x - picture) / t, from t = 1 to 0 in equal steps."""
    for k in range(steps, 0, -1):
        x = x - (x - model(x, k / steps, 1 / steps)) / (k / steps) / steps
    return x


def plain_heun(model, x, steps):
    """Heun's method on the ODE of plain_euler, with an Euler step at the end."""
    for k in range(steps, 0, -1):
        slope = (x - model(x, k / steps, 0.0)) / (k / steps)
        ahead = x - slope / steps
        if k > 1:
            slope_ahead = (ahead - model(ahead, (k - 1) / steps, 0.0)) / ((k - 1) / steps)
            ahead = x - (slope + slope_ahead) / 2 / steps
        x = ahead
    return x


@pytest.mark.parametrize(("name", "plain"), [("flow-euler", plain_euler), ("flow-heun", plain_heun)])
def test_flows_end_where_the_plain_samplers_do(name, plain):
    condition, one = condition_of(2), contender("flow")
    noise = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def model(x, t, step):
        return flow.denoise(one.network, x, condition, torch.full((2,), t), torch.full((2,), step))

    straight = plain(model, flow.start(condition, noise), 5)
    assert torch.allclose(one.sample(name, 5, condition, noise), straight, atol=1e-5)
    assert name != "flow-euler" or torch.allclose(
        one.sample("ddim", 5, condition, noise), straight, atol=1e-5
    )


@pytest.mark.parametrize("kind", ["flow", "linear", "cosine"])
def test_every_sampler_runs_and_repeats_itself(kind):
    from models.sampling.samplers import SAMPLERS

    condition, one = condition_of(1), contender(kind)
    noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name, sampler in SAMPLERS.items():
        if one.kind in sampler.on:
            made = [one.sample(name, 4, condition, noise, seed=7) for _ in range(2)]
            assert torch.isfinite(made[0]).all() and torch.equal(*made), name


def test_bf16_is_near_float32():
    condition, one = condition_of(1), contender("flow")
    noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    exact = one.sample("flow-euler", 2, condition, noise)
    near = one.cast(torch.bfloat16).sample("flow-euler", 2, condition, noise)
    assert (exact - near).abs().mean() < 0.01


def test_diffusion_trains_resumes_and_ships(tmp_path):
    seen = []
    options = {"schedule": "linear", "batch_size": 2, "config": SMALL}
    options["measure"] = lambda one, images: seen.append((one.name, images))
    training.train(batch, tmp_path / "d", steps=3, **options)
    training.train(batch, tmp_path / "d", steps=5, **options)
    assert seen == [("diffusion-linear", 6), ("diffusion-linear", 10)]
    lines = [json.loads(line) for line in (tmp_path / "d" / "log.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [6, 10] and lines[0]["loss"] > 0
    path = tmp_path / "d" / "diffusion-linear.safetensors"
    assert checkpoint.load(path)[1]["diffusion"] == "linear"
    loaded = contenders.load(str(path))
    assert (loaded.name, loaded.kind, loaded.path.name) == ("diffusion-linear", "diffusion", "linear")


def test_the_loss_falls_on_a_batch_it_sees_again(tmp_path):
    training.train(batch, tmp_path, schedule="cosine", steps=60, batch_size=2, config=SMALL)
    one = contenders.load(str(tmp_path / "diffusion-cosine.safetensors"))
    untrained = contenders.Contender("x", small_network(), path_of("cosine"))
    picture, condition = to_tensors(batch())
    held = HeldOut(picture, condition, torch.randn(picture.shape))
    assert learning_curve.denoising_error(one, held) < 0.7 * learning_curve.denoising_error(untrained, held)


def test_denoising_error_of_one_who_knows_is_zero_for_any_path():
    picture, condition = torch.rand(2, 3, 32, 32), condition_of(2)
    held = HeldOut(picture, condition, torch.randn(picture.shape))
    knows = contenders.Contender("d", lambda x, c, t, step: held.noise, path_of("linear"))
    assert learning_curve.denoising_error(knows, held) < 1e-6


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ModelError, match="no contender is named 'foo'; choose diffusion-linear"):
        contenders.find("foo")
    found, missing = contenders.load_all(["teacher", "painter"], tmp_path)
    assert [one.name for one in found] == ["teacher", "painter"] and not missing
    (tmp_path / "diffusion-linear").mkdir()
    broken = tmp_path / "diffusion-linear" / "diffusion-linear.safetensors"
    broken.write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot be read"):
        contenders.load("diffusion-linear", tmp_path)


def test_missing_weights_are_skipped_with_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(contenders, "ASSETS", tmp_path)
    found, missing = contenders.load_all(["diffusion-cosine", "reflow"])
    assert not found
    assert missing[0] == (
        "no weights of diffusion-cosine are here; `python main.py train diffusion` makes them"
    )
