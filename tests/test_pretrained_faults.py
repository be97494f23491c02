"""Bad input to pretrained models, by commands and in the loop: one-line errors, the old model stays."""

from __future__ import annotations

import json
import socket

import pytest
import torch
import transformers
from huggingface_hub import constants
from loop_harness import ROOT
from small_hub import SmallHub, files_of
from small_models import save_lora, save_sd, save_sdxl, small_tiny

from models import registry
from models.pretrained.loading import memory_estimate
from renderer.actions import Change
from renderer.cli.report import Watch

pytestmark = pytest.mark.slow  # importing diffusers takes seconds

SKETCH = ROOT / "assets" / "sketches" / "lake.png"
TURBO = "stabilityai/sd-turbo"
WEIGHTS = "diffusion_pytorch_model.safetensors"
LONG = "a lake in the long evening light with many many trees"
OUT_OF_MEMORY = "there was not enough memory; try a smaller size, --dtype bfloat16 or --offload"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_sd(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(scope="module")
def repositories(whole, tmp_path_factory):
    """Repositories of the test hub: sd-turbo with small weights, and its tiny autoencoder."""
    tiny = tmp_path_factory.mktemp("tiny")
    small_tiny().save_pretrained(tiny)
    return {TURBO: files_of(whole), "madebyollin/taesd": files_of(tiny)}


@pytest.fixture
def hub(repositories, tmp_path, monkeypatch):
    """Point this process to a hub on the loopback interface, with a separate cache."""
    made = SmallHub(TURBO, dict(repositories[TURBO]))
    made.others = dict(repositories)
    there = {
        "ENDPOINT": made.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": made.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_XET": True,
    }
    for name, value in there.items():
        monkeypatch.setattr(constants, name, value)
    yield made
    made.close()


# The hub


def test_a_hub_that_cannot_be_reached(hub, told, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        line = told("sd-turbo")
    assert line == f"{TURBO}: it is not on this machine, and the hub cannot be reached"


def test_offline_and_not_cached(hub, told, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    line = told("sd-turbo")
    assert line == f"{TURBO}: it is not on this machine, and HF_HUB_OFFLINE forbids to download it"
    assert hub.asked == []


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("refuses", ["", "/resolve/"])
def test_a_licence_that_is_not_accepted(hub, told, status, refuses):
    """With and without a login: the page of a gated model is public, its files are not."""
    hub.status, hub.gated, hub.refuses = status, True, refuses
    line = told("sd-turbo")
    page = f"https://huggingface.co/{TURBO}"
    assert line == f"{TURBO}: its licence is not accepted yet; visit {page}, then run `hf auth login`"


@pytest.mark.parametrize(
    ("status", "refuses", "says"),
    [
        (
            401,
            "/resolve/",
            "the hub knows no such model, or shows it only to whom `hf auth login` has let in",
        ),
        (403, "/resolve/", f"token that may read gated models, and see https://huggingface.co/{TURBO}"),
        (429, "/api/", "too many requests from here; wait some minutes, or log in with `hf auth login`"),
        (503, "/api/", "the hub answered with error 503; try again later"),
    ],
)
def test_a_hub_that_refuses(hub, told, status, refuses, says):
    hub.status, hub.refuses = status, refuses
    line = told("sd-turbo")
    assert line.startswith(f"{TURBO}: ") and line.endswith(says)


def test_the_window_says_it_and_the_terminal_has_the_whole_line(hub, program, monkeypatch):
    """`paint` with an unavailable model: the painter keeps painting and the exit status is an error."""

    def run(watch, *_, **__):
        app = watch.app
        while not (app.engine.error and app.picture is not None):
            app.step()
        app.tick()
        statuses.append((app.scene.status.text, app.scene.params.model))
        watch.seconds = 1.0

    statuses = []
    monkeypatch.setattr(Watch, "run", run)
    hub.status, hub.gated = 403, True
    done = program("paint", "--headless", "--json", "--size", 256, "--model", "sd-turbo")
    line = done.stderr.strip().removeprefix("flowbrush: error: ")
    assert done.returncode == 1 and "\n" not in line and statuses == [(line, "painter")]
    found = json.loads(done.stdout)
    assert "its licence is not accepted" in line and found["problem"] == line and found["model"] == "painter"


@pytest.mark.parametrize("name", [f"unet/{WEIGHTS}", "scheduler/scheduler_config.json"])
@pytest.mark.parametrize("size", [-100, 0])
def test_a_file_that_came_by_half_comes_anew(hub, program, tmp_path, name, size):
    """A file truncated by a killed download or a full disk is downloaded again, and the model paints."""
    render = ("render", SKETCH, "-o", tmp_path / "out.png", "--size", 256, "--model", "sd-turbo")
    assert program(*render).returncode == 0
    (link,) = (tmp_path / "cache").glob(f"models--stabilityai--sd-turbo/snapshots/*/{name}")
    whole, file = link.read_bytes(), link.resolve()
    file.write_bytes(whole[:size] if size else b"")
    hub.asked.clear()
    assert program(*render).returncode == 0 and link.read_bytes() == whole
    assert {path for how, path, _ in hub.asked if how == "GET" and "/resolve/" in path} == {
        path for how, path, _ in hub.asked if path.endswith(name) and how == "GET"
    }


def test_half_a_file_and_no_hub(hub, told, program, tmp_path, monkeypatch):
    program("render", SKETCH, "-o", tmp_path / "first.png", "--size", 256, "--model", "sd-turbo")
    (link,) = (tmp_path / "cache").glob(f"models--stabilityai--sd-turbo/snapshots/*/vae/{WEIGHTS}")
    link.resolve().write_bytes(link.read_bytes()[:-100])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    line = told("sd-turbo")
    assert line.startswith(f"{TURBO}: {link} is cut short: 100 of ")
    assert line.endswith("; HF_HUB_OFFLINE forbids to download it")


# LoRA


def test_a_lora_for_another_family(whole, told, tmp_path):
    large, file = save_sdxl(tmp_path / "sdxl"), save_lora(whole, tmp_path)
    line = told(large, "--lora", str(file), lora=(str(file),))
    assert line == f"{file} is a LoRA for another family of models"


# Memory and devices


def test_too_little_memory_by_the_forecast(whole, told, monkeypatch):
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda device: 20_000_000)
    line = told(whole, side_px=256)
    assert line.startswith(f"{whole} needs 36 MB in float32 (1 MB of weights) and cpu has 20 MB free")
    assert line.endswith("; what would fit: --dtype bfloat16 (18 MB), painter")


def test_the_forecast_knows_the_size_asked_for(whole, rendered, monkeypatch):
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda device: 300_000_000)
    assert " needs 0.6 GB in float32" in rendered(whole, "--size", 1024)


def test_memory_that_runs_out_while_a_model_loads(whole, told, monkeypatch):
    make = transformers.CLIPTextModel.__init__

    def too_large(self, *args, **kwargs):
        make(self, *args, **kwargs)
        torch.empty(1 << 60, device="cpu")  # torch's own error

    monkeypatch.setattr(transformers.CLIPTextModel, "__init__", too_large)
    assert told(whole) == f"{whole}: {OUT_OF_MEMORY}"


def test_cuda_that_is_not_there(whole, told, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = told(whole, "--device", "cuda", device="cuda")
    assert line.startswith("device cuda was asked for, but ")
    assert line.endswith("; use cpu, or leave --device out")


# Requests


def test_a_prompt_that_is_too_long_paints_and_says_what_was_cut(whole, program, make_loop, tmp_path):
    output = tmp_path / "out.png"
    words = ("--size", 256, "--device", "cpu", "--dtype", "float32", "--prompt", LONG)
    done = program("render", SKETCH, "-o", output, "--model", whole, *words)
    line = "the prompt is too long; left out: vening light with many many trees"
    assert done.returncode == 0 and output.is_file()
    assert [said for said in done.stderr.splitlines() if "flowbrush: loading" not in said] == [
        f"flowbrush: {line}"
    ]
    one = make_loop(registry.loader(str(whole), "cpu", "float32")).ready()
    one.do(Change("prompt", LONG))
    one.until(lambda: one.app.scene.notes == (line,))
    one.do(Change("prompt", "a lake"))
    one.until(lambda: one.app.scene.notes == ())


def test_steps_that_a_model_does_not_take_are_refused_before_a_download(hub, refused, tmp_path):
    log = ROOT / "assets" / "sessions" / "lake.jsonl"
    replay = ["replay", log, "-o", tmp_path / "film.mkv"]
    for command in (["render", SKETCH, "-o", tmp_path / "o.png"], ["bench"], replay):
        line = refused(*command, "--model", "sd-turbo", "--steps", 9)
        assert line == "flowbrush: error: sd-turbo takes 1 to 4 steps, not 9\n"
    assert hub.asked == []


@pytest.mark.parametrize("words", [["--sampler", "monet"], ["--control", "depth"], ["--device", "tpu"]])
def test_what_no_model_has_is_refused_before_a_download(hub, refused, tmp_path, words):
    line = refused("render", SKETCH, "-o", tmp_path / "o.png", "--model", "sd-turbo", *words)
    assert repr(words[1]) in line and hub.asked == []


def test_what_this_model_does_not_take_is_refused_before_a_download(hub, refused, tmp_path):
    render = ("render", SKETCH, "-o", tmp_path / "o.png", "--model")
    line = refused(*render, "sana-sprint", "--sampler", "euler")
    assert line.endswith("no sampler for this consistency model is named 'euler'; choose lcm\n")
    assert "1.5 and XL models only" in refused(*render, "z-image-turbo", "--control", "scribble")
    assert hub.asked == []
