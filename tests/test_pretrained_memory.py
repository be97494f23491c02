"""Memory of pretrained models: estimates, free memory, and out-of-memory errors."""

from __future__ import annotations

import copy
import json
import shutil
from functools import partial

import diffusers
import pytest
import torch
from loop_harness import ROOT
from safetensors.torch import save_file
from small_models import save_control, save_sd, small_unet

from models import model_table
from models.api import ModelError, no_progress
from models.benchmarks import real_models
from models.device import precision, system_info
from models.pretrained.loading import component_loader, loader, memory_estimate, memory_table
from models.pretrained.loading.loader import catalogue_estimate
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
    """The estimate counts four full-size tensors of the widest block of the autoencoder, full or tiny."""
    folder = read_folder(shutil.copytree(whole, tmp_path / "sd"))
    small = memory_estimate.of_folder(folder, "float32").work
    config = folder.path / "vae" / "config.json"
    told = json.loads(config.read_text())
    config.write_text(json.dumps(told | {"block_out_channels": [128, 256, 512, 512]}))
    assert memory_estimate.of_folder(folder, "float32").work - small == 512 * 512 * 4 * (256 - 8) * 4
    tiny = memory_estimate.of_folder(folder, "float32", tiny=True).work
    assert tiny - small == 512 * 512 * 4 * (64 - 8) * 4


def test_the_forecast_holds_for_a_real_autoencoder():
    """Peak memory of torch stays within the estimate, which documents the buffers of other libraries."""
    vae = diffusers.AutoencoderKL(**real_models.FULL).eval().requires_grad_(False)
    alive = most_alive(lambda: vae.decode(torch.zeros(1, 4, 16, 16)), side_px=128)
    assert 256 < alive < memory_estimate.ALIVE * memory_estimate.widest(vae.config)


def most_alive(function, side_px: int) -> float:
    """Peak memory of a function in float32 values per pixel, by torch's profiler."""
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
    with pytest.raises(ModelError, match=r"flux-schnell needs 33\.\d GB.*what would fit: sd3\.5-medium"):
        checked("flux-schnell", "bfloat16", "cpu")
    checked("sd-turbo", "bfloat16", "cpu")


def checked(name: str, dtype: str, device: str, **flags) -> None:
    """Check the memory of a model that is not downloaded, by its catalogue entry."""
    memory_estimate.check(
        name, partial(catalogue_estimate, MODELS[name], 512), memory_estimate.Flags(dtype, **flags), device
    )


def test_a_controlnet_that_does_not_fit_beside_the_model_is_refused(whole, monkeypatch):
    """Free memory is queried again after the model is loaded."""
    free = iter([10_000_000_000, 100_000])
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda device: next(free))
    with pytest.raises(ModelError, match=r"controlnet, the ControlNet, needs \d MB in float32 .* 0 MB free"):
        load(whole, control="scribble")


def test_smaller_models_that_would_fit_fit_in_the_dtype_asked_for(monkeypatch):
    """SD-Turbo takes 2.6 GB in half precision and twice as much in float32."""
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda device: 4_000_000_000)
    for dtype, fits in (("bfloat16", "sd-turbo"), ("float32", "painter")):
        with pytest.raises(ModelError) as error:
            checked("sdxl", dtype, "cpu")
        assert fits in str(error.value).split("what would fit: ")[1].split(", ")


def test_on_a_gpu_offloading_is_a_way_to_fit(monkeypatch):
    """Offloading is proposed where the largest component fits the GPU and the whole model does not."""
    monkeypatch.setattr(
        memory_estimate, "free_bytes", lambda device: 8_000_000_000 if device == "cuda" else 32_000_000_000
    )
    monkeypatch.setattr(memory_estimate, "resident_bytes", lambda device: 2_000_000_000)
    need = memory_estimate.Need(10_000_000_000, 6_000_000_000, 1_000_000_000)
    with pytest.raises(
        ModelError,
        match=r"needs 11\.0 GB in bfloat16 \(10\.0 GB of weights\) and cuda has 8\.0 GB free beside "
        r"2\.0 GB of this program; what would fit: --offload \(7\.0 GB\), ",
    ):
        memory_estimate.check("mine", lambda *_: need, memory_estimate.Flags("bfloat16"), "cuda")
    memory_estimate.check("mine", lambda *_: need, memory_estimate.Flags("bfloat16", offload=True), "cuda")


CARDS = {"RTX 4090": 24.8e9, "12 GB": 11.8e9, "8 GB": 7.6e9}  # bytes free when idle
FITS = {  # flags that make each model fit, at 512 px; "": none needed
    ("flux-schnell", "RTX 4090"): "--offload",
    ("flux-schnell", "12 GB"): "--offload --quantize 4bit",
    ("sd3.5-large-turbo", "RTX 4090"): "--offload",
    ("sd3.5-medium", "12 GB"): "--offload",
    ("flux2-klein", "12 GB"): "--offload",
    ("z-image-turbo", "RTX 4090"): "",
    ("z-image-turbo", "12 GB"): "--offload --quantize 8bit",
    ("sd-turbo", "8 GB"): "",
}


@pytest.mark.parametrize(("name", "card"), FITS)
def test_before_a_download_the_flag_that_makes_it_fit_is_named(monkeypatch, name, card):
    """A model too large for the GPU is refused before its download, and accepted with the named flag."""
    free = {"cuda": int(CARDS[card]), "cpu": 64_000_000_000}
    monkeypatch.setattr(memory_estimate, "free_bytes", free.get)
    monkeypatch.setattr(memory_estimate, "resident_bytes", lambda device: 0)
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    words = FITS[name, card].split()
    flags = {"offload": "--offload" in words, "quantize": words[-1] if "--quantize" in words else ""}
    checked(name, "bfloat16", "cuda", **flags)
    if words:
        with pytest.raises(ModelError) as error:
            checked(name, "bfloat16", "cuda")
        assert FITS[name, card] in str(error.value).split("what would fit: ")[1]


def test_only_the_denoiser_counts_as_quantized():
    """FLUX.1 schnell: 11.9 of 16.9 billion parameters are quantized; the text encoders are not."""
    plain, less = (
        memory_estimate.of_catalogue(MODELS["flux-schnell"], "bfloat16", quantize=q) for q in ("", "4bit")
    )
    assert plain.weights - less.weights == pytest.approx(11.9e9 * (2 - 0.5625), rel=1e-6)
    assert less.largest == pytest.approx(2 * 4.76e9, rel=1e-6)  # T5
    assert plain.largest == pytest.approx(2 * 11.9e9, rel=1e-6)


def test_main_memory_counts_what_is_on_its_way_to_the_device(monkeypatch):
    """Loading holds one component at a time in main memory; --offload keeps all of them there."""
    monkeypatch.setattr(memory_estimate, "resident_bytes", lambda device: 0)
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    free = {"cuda": 80_000_000_000, "cpu": 20_000_000_000}
    monkeypatch.setattr(memory_estimate, "free_bytes", free.get)
    checked("z-image-turbo", "bfloat16", "cuda")
    with pytest.raises(ModelError) as error:
        checked("flux-schnell", "bfloat16", "cuda")
    assert str(error.value).startswith(
        "flux-schnell needs 23.8 GB in bfloat16 to load and main memory has 20.0 GB free; what would fit: "
    )
    with pytest.raises(ModelError, match=r"z-image-turbo needs 20\.5 GB in bfloat16 to load and main memory"):
        checked("z-image-turbo", "bfloat16", "cuda", offload=True)


def test_each_component_leaves_the_host_before_the_next_is_read(whole, monkeypatch):
    """The meta device stands in for the GPU: tensors there take no host memory."""
    host, most, load = [], [], component_loader.load_part

    def noted(*args, **kwargs):
        most.append(sum(w.nbytes for part in host for w in part.parameters() if w.device.type == "cpu"))
        host.append(load(*args, **kwargs))
        return host[-1]

    monkeypatch.setattr(component_loader, "load_part", noted)
    folder = read_folder(whole)
    pipe = component_loader.load_pipeline(folder, "sd", torch.float32, no_progress, device="meta")
    assert len(host) == 3 and most == [0, 0, 0]
    assert {pipe.unet.device.type, pipe.vae.device.type, pipe.text_encoder.device.type} == {"meta"}
    assert len(host) == 3 and memory_estimate.of_folder(folder, "float32").on_host() == max(
        sum(w.nbytes for w in part.parameters()) for part in host
    )


@pytest.mark.parametrize(
    ("capability", "stored", "expected"),
    [
        ((9, 0), torch.float16, torch.float16),
        ((9, 0), torch.bfloat16, torch.bfloat16),
        ((9, 0), torch.float32, torch.bfloat16),
        ((7, 5), torch.float32, torch.float16),
        ((6, 1), torch.float16, torch.float32),
    ],
)
def test_the_dtype_goes_by_the_card_and_by_what_was_saved(
    tmp_path, monkeypatch, capability, stored, expected
):
    """float16 checkpoints stay in float16; GPUs before sm_80 never get bfloat16."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    file = tmp_path / "unet.safetensors"
    save_file({"weight": torch.zeros(8, dtype=stored), "step": torch.zeros(2, dtype=torch.int64)}, file)
    turbo, zimage = MODELS["sd-turbo"], MODELS["z-image-turbo"]
    assert loader.dtype_of(turbo, [file], "cuda", loader.Options()) == expected
    if capability < (8, 0):
        assert loader.dtype_of(zimage, [file], "cuda", loader.Options()) == torch.float32
    asked = loader.Options(dtype="float32")
    assert loader.dtype_of(turbo, [file], "cuda", asked) == torch.float32


def test_float16_keeps_what_bfloat16_rounds_away():
    """bfloat16 keeps 8 of the 11 bits of a float16 checkpoint, and the output error grows accordingly."""
    unet = small_unet().double()
    for weight in unet.parameters():
        weight.data = weight.data.half().double()
    x, prompt = torch.randn(1, 4, 16, 16).double(), torch.randn(1, 7, 32).double()
    exact = unet(x, torch.tensor(500), prompt).sample
    wrong = {}
    for dtype in (torch.float16, torch.bfloat16):
        made = copy.deepcopy(unet).to(dtype)(x.to(dtype), torch.tensor(500), prompt.to(dtype)).sample
        wrong[dtype] = float((made.double() - exact).norm() / exact.norm())
    assert wrong[torch.float16] < 0.01 and 4 < wrong[torch.bfloat16] / wrong[torch.float16] < 16


def test_what_is_free_counts_caches_that_make_room(monkeypatch, tmp_path):
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 16000000 kB\nMemFree: 1000000 kB\nMemAvailable: 8000000 kB\n")
    monkeypatch.setattr(system_info, "MEMORY", told)
    assert system_info.free_memory_mb() == 8192 and memory_estimate.free_bytes("cpu") == 8_192_000_000


def test_models_are_held_against_the_memory_of_the_device_they_run_on(monkeypatch, capsys):
    """Uses stand-ins for a driver and a GPU of 16 GB."""
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


# Out of memory


def run_short(model, short: list[bool]) -> None:
    """Make the network raise an out-of-memory error while `short[0]` is true."""
    forward = model.family.forward

    def sometimes(*values, **named):
        if short[0]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")
        return forward(*values, **named)

    model.family.forward = sometimes


def test_memory_that_runs_out_in_a_frame_costs_no_more_than_that_frame(whole, make_loop):
    """One line is shown, the last picture and the model stay, and painting goes on."""
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
    """Switching back to the previous model, and again to the one that ran out, needs no reload."""
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
    """Whether the shown picture was made by this model after the latest switch."""
    app = one.app
    return app.scene.card is model.card and app.picture.request.epoch == app.requests.epoch


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


def test_the_page_of_estimates_is_what_its_command_prints(capsys):
    assert memory_table.main() == 0
    assert (ROOT / "docs" / "memory.md").read_text(encoding="utf-8") == capsys.readouterr().out
    assert memory_table.first_fit(MODELS["flux-schnell"], 24, 512) == "`--offload`"
    assert memory_table.first_fit(MODELS["sd-turbo"], 8, 512) == "fits"
    assert memory_table.first_fit(MODELS["flux-schnell"], 8, 512) == "too large"
