"""Memory of a pretrained model: what it will need, what is free, and when it runs out all the same."""

from __future__ import annotations

import json
import shutil

import diffusers
import pytest
import torch
from small_models import save_control, save_sd

from models import model_table
from models.api import ModelError
from models.benchmarks import diffusers_comparison
from models.device import system_info
from models.pretrained.loading import loader, memory_estimate
from models.pretrained.sources.catalogue import MODELS
from models.pretrained.sources.folder import read_folder
from renderer.actions import Change

pytestmark = pytest.mark.slow  # importing diffusers takes seconds
CPU = {"device": "cpu", "dtype": "float32", "tiny": False, "fuse": True}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_control(save_sd(tmp_path_factory.mktemp("models") / "sd"))


def load(whole, **options):
    return loader.load(str(whole), loader.Options(**(CPU | options)))


def test_the_forecast_counts_what_is_loaded(whole):
    need = memory_estimate.of_folder(read_folder(whole), "float32")
    model = load(whole)
    parts = [p for p in model.family.pipe.components.values() if isinstance(p, torch.nn.Module)]
    sizes = [sum(w.nbytes for w in part.parameters()) for part in parts]
    assert need.weights == pytest.approx(sum(sizes), rel=0.01)
    assert need.largest == pytest.approx(max(sizes), rel=0.01)
    assert memory_estimate.of_folder(read_folder(whole), "bfloat16").weights * 2 == need.weights
    unet = sum(w.numel() for w in model.family.pipe.unet.parameters())
    for quantize, width in (("8bit", 1), ("4bit", 0.5625)):
        less = memory_estimate.of_folder(read_folder(whole), "float32", quantize=quantize)
        assert need.weights - less.weights == pytest.approx(unet * (4 - width), rel=0.01)
    assert memory_estimate.work("float32", 1024, 64) == 4 * memory_estimate.work("float32", 512, 64)


def test_the_forecast_of_work_knows_the_autoencoder(whole, tmp_path):
    """Four tensors of its widest block at full size, by its configuration; or of a tiny one."""
    folder = read_folder(shutil.copytree(whole, tmp_path / "sd"))
    small = memory_estimate.of_folder(folder, "float32").work
    config = folder.path / "vae" / "config.json"
    told = json.loads(config.read_text())
    config.write_text(json.dumps(told | {"block_out_channels": [128, 256, 512, 512]}))
    assert memory_estimate.of_folder(folder, "float32").work - small == 512 * 512 * 4 * (256 - 8) * 4
    tiny = memory_estimate.of_folder(folder, "float32", tiny=True).work
    assert tiny - small == 512 * 512 * 4 * (64 - 8) * 4


def test_the_forecast_holds_for_a_real_autoencoder():
    """At most what was forecast is alive at once in torch; libraries' own buffers are told of in forecast."""
    vae = diffusers.AutoencoderKL(**diffusers_comparison.VAE).eval().requires_grad_(False)
    alive = most_alive(lambda: vae.decode(torch.zeros(1, 4, 16, 16)), side_px=128)
    assert 256 < alive < memory_estimate.ALIVE * memory_estimate.widest(vae.config)


def most_alive(function, side_px: int) -> float:
    """The most values of float32 for each pixel that a function held at one moment, by torch's own count."""
    with torch.inference_mode(), torch.profiler.profile(profile_memory=True) as profile:
        function()
    held, most = 0, 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most / 4 / side_px**2


def test_what_is_too_large_is_refused_with_the_figures(whole, monkeypatch):
    need = memory_estimate.of_folder(read_folder(whole), "float32")
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda device: need.total - 1)
    with pytest.raises(
        ModelError, match=r"needs 0\.1 GB in float32 .* cpu has 0\.1 GB free.*--dtype bfloat16"
    ):
        load(whole)
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda device: 20_000_000_000)
    sdxl = memory_estimate.of_catalogue(MODELS["flux-schnell"], "bfloat16")
    with pytest.raises(ModelError, match=r"flux-schnell needs 34\.\d GB.*what would fit: sd3\.5-medium"):
        memory_estimate.check("flux-schnell", sdxl, "bfloat16", "cpu")
    memory_estimate.check(
        "sd-turbo", memory_estimate.of_catalogue(MODELS["sd-turbo"], "bfloat16"), "bfloat16", "cpu"
    )


def test_a_controlnet_that_does_not_fit_beside_the_model_is_refused(whole, monkeypatch):
    """What is free is asked again when the model lies there."""
    free = iter([10_000_000_000, 100_000])
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda device: next(free))
    with pytest.raises(ModelError, match=r"controlnet, the ControlNet, needs \d MB in float32 .* 0 MB free"):
        load(whole, control="scribble")


def test_smaller_models_that_would_fit_fit_in_the_dtype_asked_for(monkeypatch):
    """SD-Turbo takes 2.6 GB in half precision and twice as much in float32."""
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda device: 4_000_000_000)
    for dtype, fits in (("bfloat16", "sd-turbo"), ("float32", "painter")):
        need = memory_estimate.of_catalogue(MODELS["sdxl"], dtype)
        with pytest.raises(ModelError) as error:
            memory_estimate.check("sdxl", need, dtype, "cpu")
        assert str(error.value).split("what would fit: ")[1].startswith(fits)


def test_on_a_gpu_offloading_is_a_way_to_fit(monkeypatch):
    """With the figures of one: the largest part fits, the whole does not."""
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda device: 8_000_000_000)
    monkeypatch.setattr(memory_estimate, "resident_bytes", lambda device: 2_000_000_000)
    need = memory_estimate.Need(10_000_000_000, 6_000_000_000, 1_000_000_000)
    with pytest.raises(
        ModelError,
        match=r"needs 11\.0 GB in bfloat16 \(10\.0 GB of weights\) and cuda has 8\.0 GB free beside "
        r"2\.0 GB of this program; what would fit: --offload \(7\.0 GB\), ",
    ):
        memory_estimate.check("mine", need, "bfloat16", "cuda")
    memory_estimate.check("mine", need, "bfloat16", "cuda", offload=True)


def test_what_is_free_counts_caches_that_make_room(monkeypatch, tmp_path):
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 16000000 kB\nMemFree: 1000000 kB\nMemAvailable: 8000000 kB\n")
    monkeypatch.setattr(system_info, "MEMORY", told)
    assert system_info.free_memory_mb() == 8192 and memory_estimate.free_bytes("cpu") == 8_192_000_000


def test_models_are_held_against_the_memory_of_the_device_they_run_on(monkeypatch, capsys):
    """Stand-ins for a driver and a GPU of 16 GB."""
    monkeypatch.setattr(model_table.shutil, "which", lambda name: "/usr/bin/" + name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda device: {"cuda": 16_000_000_000}[device])
    model_table.show(as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["device"], found["memory_free_mb"]) == ("cuda", 16_000)
    model_table.show(as_json=False)
    lines = capsys.readouterr().out.splitlines()
    beyond = {line.split()[0] for line in lines if "too much here" in line}
    assert beyond == {row["name"] for row in found["models"] if row["memory_mb"] > 16_000}
    assert "flux-schnell" in beyond and "sdxl" not in beyond and "memory free: 16000 MB on cuda" in lines[-1]


# When it runs out


def run_short(model, short: list[bool]) -> None:
    """Have the model's network run out of memory whenever `short` says so."""
    forward = model.family.forward

    def sometimes(*values, **named):
        if short[0]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")
        return forward(*values, **named)

    model.family.forward = sometimes


def test_memory_that_runs_out_in_a_frame_costs_no_more_than_that_frame(whole, make_loop):
    """Through the loop: one line, the last picture and the model stay, and painting goes on."""
    model, short = load(whole), [False]
    run_short(model, short)
    one = make_loop(lambda: model).ready()
    good, short[0] = one.app.picture, True
    one.stroke((20, 20), (60, 60))
    one.until(lambda: one.app.stats.errors == 1)
    one.tick(2)
    (line,) = one.messages
    assert one.app.picture is good and "there was not enough memory" in line and "\n" not in line
    short[0] = False
    one.stroke((20, 90), (60, 90))
    one.until(lambda: one.app.picture is not good)
    assert one.app.stats.errors == 1 and one.app.canvas.pixels[40, 40, 3]


def test_after_memory_ran_out_in_a_frame_the_model_before_is_back_at_once(whole, painter, make_loop):
    """And the one that ran out can be taken again, both without a load."""
    model, short, loads = load(whole), [False], []
    run_short(model, short)
    one = make_loop(lambda: painter).ready()
    one.app.switcher.load_model = lambda name, told: lambda: (loads.append(name), model)[1]
    one.do(Change("model", str(whole)))
    one.until(lambda: painted_by(one, model) and not one.app.engine.busy)
    short[0] = True
    one.stroke((20, 20), (60, 60))
    one.until(lambda: one.app.stats.errors == 1)
    one.do(Change("model", "painter"))
    one.until(lambda: painted_by(one, painter))
    assert one.app.canvas.pixels[40, 40, 3] and one.app.scene.status.text == ""
    assert painter.render(one.app.picture.request).picture.tobytes() == one.app.picture.picture.tobytes()
    short[0] = False
    one.do(Change("model", str(whole)))
    one.until(lambda: painted_by(one, model))
    assert loads == [str(whole)]


def painted_by(one, model) -> bool:
    """Whether the picture that stands was made by this model, since it began to serve."""
    app = one.app
    return app.scene.card is model.card and app.picture.request.epoch == app._epoch


def test_memory_that_runs_out_in_a_first_picture_leaves_the_present_model(whole, painter, make_loop):
    model = load(whole)
    run_short(model, [True])
    one = make_loop(lambda: painter).ready()
    one.app.switcher.load_model = lambda name, told: lambda: model
    one.do(Change("model", str(whole)))
    one.until(lambda: one.app.engine.error)
    one.tick(2)
    assert "there was not enough memory; try a smaller size" in one.app.scene.status.text
    assert (
        one.app.scene.card is painter.card and one.app.scene.params.model == one.app.engine.name == "painter"
    )
    shown = one.shown
    one.stroke((20, 20), (60, 60))
    one.until(lambda: one.shown > shown)
    assert one.app.stats.errors == 0
