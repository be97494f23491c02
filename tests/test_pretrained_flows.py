"""Sampling loops of the flow families against `diffusers` pipelines: same weights, noise and times."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from small_flows import PIPELINES, SAVERS, save_flux
from small_models import lora_weights, painted

from models.api import ModelError, Request
from models.pretrained.components import schedule
from models.pretrained.components.autoencoder import Coder, fold
from models.pretrained.families.base import Size
from models.pretrained.fusion import patching
from models.pretrained.loading import loader

pytestmark = pytest.mark.slow  # importing diffusers takes seconds
SIZE = Size(256, 256)
PLANS = list(product((1, 2, 4, 20), (1.0, 0.55, 0.33)))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Small model of each family, saved and loaded once."""
    home, made = tmp_path_factory.mktemp("models"), {}

    def load(name: str):
        if name not in made:
            SAVERS[name](home / name)
            made[name] = loader.load(
                str(home / name), loader.Options(device="cpu", dtype="float32", fuse=True)
            )
        return made[name]

    return load


@torch.no_grad()
def latent_of(model, **values):
    seen, coder = [], model.family.coder
    decode = coder.decode
    coder.decode = lambda latent: seen.append(latent) or decode(latent)
    try:
        frame = model.render(Request(painted(), seed=3, prompt="a lake", **values))
    finally:
        coder.decode = decode
    return seen[0], frame.picture


@torch.no_grad()
def theirs(name, model, monkeypatch, steps, strength, guidance=0.0):
    """Latent of the `diffusers` pipeline for our noise; FLUX.2's pipeline gets our start latent."""
    pipe, grid = model.family.pipe, model.family.grid(model.sampler, steps, strength, SIZE)
    request = Request(painted(), steps=steps, strength=strength, seed=3)
    start = model.start(torch.from_numpy(painted()), request, grid)
    first, fresh = [model.noise(request, *start.shape[1:])], model.fresh_noise(start, request)
    for module in (type(pipe).__module__, "diffusers.schedulers.scheduling_scm"):
        module = importlib.import_module(module)
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: first.pop() if first else fresh())
    image = torch.from_numpy(painted()[..., :3].copy()).permute(2, 0, 1)[None].float() / 255
    last = strength / steps if name != "sd3" else min(3 / 1002, strength / steps)  # 1 / 1000 at shift 3
    sigmas = np.linspace(strength, last, steps).tolist()
    plan = {"image": image, "strength": 1.0, "sigmas": sigmas, "guidance_scale": guidance}
    if name == "flux2":
        plan = {"latents": start, "sigmas": sigmas, "guidance_scale": 1.0}
    elif name == "sana":
        plan = {"image": image, "strength": 1.0, "guidance_scale": guidance, "use_resolution_binning": False}
        plan["max_timesteps"] = grid.times[0]
        plan["intermediate_timesteps"] = grid.times[1] if steps == 2 else None
    if name == "flux":
        plan["max_sequence_length"] = model.family.tokens()
    pipe.set_progress_bar_config(disable=True)
    with as_it_came(model):
        latent = pipe(
            prompt="a lake",
            height=256,
            width=256,
            num_inference_steps=steps,
            output_type="latent",
            **plan,
        )
    return latent.images


@contextmanager
def as_it_came(model):
    """Context in which the network and the autoencoder run unmodified `diffusers` code."""
    for part in (model.family.network, model.family.coder.vae):
        patching.restore(part)
    yield
    model.family.ready(True)
    model.family.coder = Coder(model.family.coder.vae)


def in_our_scale(name, model, latent):
    coder = model.family.coder
    if name == "flux":
        return model.family.pipe._unpack_latents(latent, 256, 256, 8)
    if name == "flux2":
        return (fold(latent) - coder.mean()) / coder.deviation()
    return latent


@torch.no_grad()
def pixels_of(name, model, raw, scaled):
    """Decode a latent as the pipelines do; returns (H, W, 3) in 0..1."""
    pipe, config = model.family.pipe, model.family.pipe.vae.config
    if name != "flux2":  # its pipeline returns the latent ready to decode
        raw = scaled / config.scaling_factor + (config.get("shift_factor", 0) or 0)
    with as_it_came(model):
        image = pipe.vae.decode(raw, return_dict=False)[0]
    return pipe.image_processor.postprocess(image, output_type="np")[0]


@pytest.mark.parametrize("name", SAVERS)
@pytest.mark.parametrize(("steps", "strength"), PLANS)
def test_the_pipeline_s_latent_and_pixels(models, monkeypatch, name, steps, strength):
    model = models(name)
    latent, picture = latent_of(model, steps=steps, strength=strength)
    raw = theirs(name, model, monkeypatch, steps, strength)
    expected = in_our_scale(name, model, raw)
    assert expected.abs().max() > 0.5
    assert (latent - expected).abs().max() < 1e-4 * max(1.0, float(expected.abs().max()))
    pixels = pixels_of(name, model, raw, expected)
    assert np.abs(picture / 255.0 - pixels).max() <= 1.01 / 255


@pytest.mark.parametrize(
    ("name", "guidance", "told"),
    [("sd3", 4.5, 4.5), ("zimage", 3.0, 2.0), ("sana", 4.5, 4.5), ("dev", 3.5, 3.5)],
)
def test_guidance(tmp_path, monkeypatch, name, guidance, told):
    """Guidance by a second call or as a network input (SANA, FLUX.1 dev); Z-Image's scale starts at 0."""
    if name == "dev":
        name, folder = "flux", save_flux(tmp_path / "dev", guidance_embeds=True)
    else:
        folder = SAVERS[name](tmp_path / name)
    options = {"device": "cpu", "dtype": "float32", "fuse": True}
    made = {}
    for scale in (guidance, 1.0):
        model = loader.load(str(folder), loader.Options(**options, guidance=scale))
        made[scale], _ = latent_of(model, steps=4, strength=0.55)
        if scale == guidance:
            raw = theirs(name, model, monkeypatch, 4, 0.55, told)
            expected = in_our_scale(name, model, raw)
    assert (made[guidance] - expected).abs().max() < 1e-4 * max(1.0, float(expected.abs().max()))
    assert (made[guidance] - made[1.0]).abs().max() > 0.01


@pytest.mark.parametrize("name", ["flux", "flux2"])
def test_guidance_where_there_is_none_is_refused(models, name):
    home = models(name).card.name
    with pytest.raises(ModelError, match="was distilled to need no guidance; leave --guidance out"):
        loader.load(home, loader.Options(device="cpu", dtype="float32", guidance=4.0))


@pytest.mark.parametrize("name", SAVERS)
def test_a_lora_and_its_live_scale(models, tmp_path, name):
    """A LoRA of each family's transformer, saved in the usual format, and its scale."""
    plain = latent_of(models(name), steps=2)[1].astype(int)
    home = Path(models(name).card.name)
    network = type(models(name).family.network).from_pretrained(home / "transformer")
    PIPELINES[name].save_lora_weights(tmp_path, transformer_lora_layers=lora_weights(network))
    (file,) = tmp_path.glob("*.safetensors")
    model = loader.load(
        str(home), loader.Options(device="cpu", dtype="float32", fuse=True, lora=(str(file),))
    )
    assert np.abs(latent_of(model, steps=2)[1] - plain).mean() > 1
    model.scale_loras([0.0])
    assert np.abs(latent_of(model, steps=2)[1] - plain).max() <= 1


@pytest.mark.parametrize("steps", [1, 2, 20])
@pytest.mark.parametrize("strength", [1.0, 0.55, 0.001])
def test_karras_sigmas_on_a_flow(steps, strength):
    """Sigma^(1/7) falls in equal steps from the same start; pure noise counts as sigma 80."""
    shift = schedule.shift_of({"shift": 3.0}, 0)
    even, grid = (schedule.flow_grid(name, steps, strength, shift) for name in ("dpm++2m", "dpm++2m-karras"))
    assert grid.times[0] == even.times[0] and grid.times[-1] == 0 and grid.steps == steps
    roots = np.array([min(80.0, grid.sigma(i)) for i in range(steps)]) ** (1 / 7)
    assert (np.diff(grid.times) < 0).all() and np.allclose(
        np.diff(roots), (roots[-1] - roots[0]) / max(1, steps - 1)
    )
    if strength > 0.1 and steps > 1:
        assert grid.sigma(steps - 1) == pytest.approx(1 / 999)


@pytest.mark.parametrize("sampler", schedule.FLOW_SAMPLERS)
def test_every_sampler_runs_on_a_flow(models, sampler):
    model = models("flux")
    model.sampler = sampler
    try:
        picture = latent_of(model, steps=3, strength=0.8)[1]
    finally:
        model.sampler = "flow-euler"
    assert picture.std() > 1


def test_sana_takes_its_own_sampler_alone(models):
    model = models("sana")
    model.sampler = "euler"
    with pytest.raises(
        ModelError, match="no sampler for this consistency model is named 'euler'; choose lcm"
    ):
        latent_of(model, steps=2)
    model.sampler = "lcm"


@pytest.mark.parametrize("name", SAVERS)
def test_what_a_prompt_too_long_loses_is_said(models, name):
    """Truncated words are reported and do not change the picture; the words before them do."""
    model = models(name)
    made = [
        model.render(Request(painted(), prompt=prompt))
        for prompt in ("a " * 700 + "lake", "a " * 700 + "user", "user " + "a " * 699 + "lake", "a lake")
    ]
    assert made[0].notes[0].startswith("the prompt is too long; left out: a ") and not made[3].notes
    assert made[0].notes[0].endswith("a lake") and made[1].notes[0].endswith("a user")
    assert np.array_equal(made[0].picture, made[1].picture)
    assert (made[0].picture != made[2].picture).any()


@pytest.mark.parametrize("name", SAVERS)
def test_blank_paper_starts_from_pure_noise(models, name):
    model = models(name)
    blank = np.zeros((256, 256, 4), np.uint8)
    grid = model.family.grid(model.sampler, 1, 0.4, SIZE)
    request = Request(blank, seed=9, strength=0.4)
    start = model.start(torch.from_numpy(blank), request, grid)
    assert torch.equal(start, model.noise(request, *start.shape[1:]))


@pytest.mark.parametrize("tokens", [256, 4096, 5000])
def test_the_shift_of_flux2_is_that_of_diffusers(tokens):
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    from models.pretrained.families.flux2 import exponent

    for steps in (1, 4, 50):
        assert exponent(tokens, steps) == pytest.approx(compute_empirical_mu(tokens, steps))
