"""Timesteps of every catalogue model against those of its `diffusers` pipeline.

The pipeline runs at its defaults with the scheduler configuration of the hub; its timesteps are expected of
our schedule at full strength.
"""

from __future__ import annotations

import json

import diffusers
import numpy as np
import pytest
import torch
from hub_schedulers import HUB
from small_flows import PIPELINES, SAVERS
from small_models import save_sd, save_sdxl

from models.pretrained.components import schedule
from models.pretrained.families.base import Size
from models.pretrained.loading import loader
from models.pretrained.sources.catalogue import MODELS

pytestmark = pytest.mark.slow  # importing diffusers takes seconds
SIZE = Size(256, 256)
SAVE = {**SAVERS, "sd": save_sd, "sdxl": save_sdxl}
TEXT_TO_IMAGE = {
    **PIPELINES,
    "sd": diffusers.StableDiffusionPipeline,
    "sdxl": diffusers.StableDiffusionXLPipeline,
}
STEPS = {name: sorted({model.steps[2], 1, 4}) for name, model in MODELS.items()}
PLANS = [
    (name, steps)
    for name in HUB
    for steps in STEPS[name]
    if name not in ("sd15", "sdxl", "lcm")  # other schedulers than the hub's: see below
]


def layout(name: str) -> str:
    """Name of the small model with the same layout."""
    family = MODELS[name].family
    return family if family != "unet" else "sdxl" if name.startswith("sdxl") else "sd"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Small model of the same layout, with the hub's scheduler configuration."""
    home, made = tmp_path_factory.mktemp("models"), {}

    def load(name: str):
        kind = layout(name)
        folder = home / kind
        if kind not in made:
            made[kind] = loader.load(
                str(SAVE[kind](folder)), loader.Options(device="cpu", dtype="float32", tiny=False)
            )
        one = made[kind]
        config = {key: value for key, value in HUB[name].items() if key != "_class_name"}
        one.family.pipe.scheduler = getattr(diffusers, HUB[name]["_class_name"])(**config)
        one.family.ready(False)
        one.sampler = MODELS[name].sampler or one.family.usual_sampler()
        return one

    return load


def run_theirs(name: str, one, steps: int):
    """Run the text-to-image pipeline once and return its scheduler."""
    parts = {k: v for k, v in one.family.pipe.components.items() if k not in ("image_encoder",)}
    kind = TEXT_TO_IMAGE[layout(name)]
    if layout(name) == "sd":
        parts |= {"requires_safety_checker": False}
    if layout(name) == "flux2":
        parts |= {"is_distilled": True}
    pipe = kind(**parts)
    pipe.set_progress_bar_config(disable=True)
    plan = {"guidance_scale": 1.0 if layout(name) == "flux2" else 0.0}
    if layout(name) == "sana":
        plan = {"use_resolution_binning": False}
        if steps != 2:
            plan["intermediate_timesteps"] = None
    pipe(
        prompt="a lake",
        height=SIZE.height,
        width=SIZE.width,
        num_inference_steps=steps,
        output_type="latent",
        generator=torch.Generator().manual_seed(0),
        **plan,
    )
    return pipe.scheduler


@pytest.mark.parametrize(("name", "steps"), PLANS)
@torch.no_grad()
def test_full_strength_has_the_times_of_the_pipeline(model, name, steps):
    one = model(name)
    grid = one.family.grid(one.sampler, steps, 1.0, SIZE)
    scheduler = run_theirs(name, one, steps)
    if layout(name) == "sana":
        assert np.allclose(grid.times, scheduler.timesteps.tolist(), atol=1e-6)
    elif MODELS[name].family == "unet":
        assert list(grid.times[:-1]) == scheduler.timesteps.tolist()
        sigmas = [grid.sigma(k) for k in range(steps + 1)]
        assert np.allclose(sigmas, scheduler.sigmas.tolist(), rtol=1e-5)
    else:
        assert np.allclose(grid.times, scheduler.sigmas.tolist(), atol=1e-6)


def test_sd35_at_four_steps():
    """Expected times: 1, 0.858, 0.602, 0.009, 0; four even steps, shifted once: 1, 0.9, 0.75, 0.5, 0."""
    shift = schedule.shift_of({"shift": 3.0}, 1024)
    grid = schedule.flow_grid("flow-euler", 4, 1.0, shift, last=shift(1 / 1000))
    assert np.allclose(grid.times, (1, 0.858, 0.602, 0.009, 0), atol=1e-3)


def test_lcm_has_the_timesteps_of_its_scheduler(model):
    """The model card replaces the hub's scheduler with LCMScheduler."""
    scheduler = diffusers.LCMScheduler.from_config(model("lcm").family.pipe.scheduler.config)
    path = model("lcm").family.path
    for steps in (1, 2, 4, 8):
        scheduler.set_timesteps(steps)
        assert list(schedule.lcm_grid(path, steps, 1.0).times[:-1]) == scheduler.timesteps.tolist()
        scheduler.set_timesteps(steps, strength=0.5)
        assert list(schedule.lcm_grid(path, steps, 0.5).times[:-1]) == scheduler.timesteps.tolist()


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_the_models_of_many_steps_run_dpm_with_trailing_steps(model, name):
    """Models of many steps use DPM++ with trailing steps instead of the hub's scheduler.

    The hub names PNDM and Euler with "leading" steps, which never start at pure noise (Lin et al. 2024), as
    blank paper does.
    """
    one = model(name)
    scheduler = diffusers.DPMSolverMultistepScheduler.from_config(
        one.family.pipe.scheduler.config, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(20)
    grid = one.family.grid(one.sampler, 20, 1.0, SIZE)
    assert one.sampler == "dpm++2m" and list(grid.times[:-1]) == scheduler.timesteps.tolist()
    assert np.allclose([grid.sigma(k) for k in range(21)], scheduler.sigmas.tolist(), rtol=1e-5)


@pytest.mark.parametrize("name", HUB)
def test_strength_shortens_the_path_and_keeps_the_steps(model, name):
    one = model(name)
    steps = MODELS[name].steps[2]
    for strength in (0.0, 0.003, 0.1, 0.5, 0.99, 1.0):
        grid = one.family.grid(one.sampler, steps, strength, SIZE)
        assert len(grid.times) == steps + 1 and (np.diff(grid.times) < 0).all(), (strength, grid.times)


def test_the_configurations_are_those_of_the_catalogue():
    assert set(HUB) == set(MODELS) and json.dumps(HUB)


@pytest.mark.parametrize("guided", [False, True])
def test_a_predicted_sample_is_not_the_graph_s_own_tensor(tmp_path, guided):
    """A graph's next run overwrites its output tensor, while a sampler may still keep the prediction."""
    folder = save_sd(tmp_path / "sd", scheduler=small_sample_scheduler())
    one = loader.load(
        str(folder), loader.Options(device="cpu", dtype="float32", guidance=5.0 if guided else 0)
    )
    kept = torch.ones(2 if guided else 1, 4, 32, 32)
    one.family.run = lambda part, **inputs: kept
    one.family.states = one.family.added = None
    one.family.prepared = None
    grid = one.family.grid("euler", 2, 1.0, SIZE)
    made = one.family.predict(torch.zeros(1, 4, 32, 32), grid.times[0], grid, None)
    kept.fill_(7)
    assert (made == 1).all()


def small_sample_scheduler():
    return diffusers.DDIMScheduler(
        **{**{k: v for k, v in HUB["sd-turbo"].items() if k != "_class_name"}, "prediction_type": "sample"}
    )
