"""Painter model: flow, samplers, network, checkpoint and adapter, with the shipped weights."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import main
from kernels.ops.noise import normal
from models import checkpoint
from models.api import DEFAULT_MOOD, MOOD_AXES, ModelError, Request
from models.device import allocator, precision
from models.device.cuda_graphs import NOT_YET
from models.device.threads import ThreadCount
from models.painter import flow, painter, patches
from models.painter.flow import Condition
from models.painter.network import NetworkConfig, PainterNetwork
from models.painter.packed import PackedNetwork
from models.sampling.paths import Grid, Straight, uniform, uniform_times
from models.sampling.solvers import ddim, path_heun
from renderer.files.png import read_about, write_png

ASSETS = Path(__file__).resolve().parent.parent / "assets"
SIDE = 256
NO_BF16 = pytest.mark.skipif(not precision.has_bf16("cpu"), reason="this CPU has no bfloat16")
EVERY_DTYPE = ["float32", pytest.param("bfloat16", marks=NO_BF16)]
CALLS = ((1, 0), (1, 1), (2, 0), (1, 0))  # steps, seed


@pytest.fixture(scope="module")
def shipped(painter):
    return painter


def random_network(seed: int = 0) -> PainterNetwork:
    torch.manual_seed(seed)
    network = PainterNetwork().eval().requires_grad_(False)
    torch.nn.init.normal_(network.head.weight, std=0.05)
    torch.nn.init.normal_(network.bias_of.weight, std=0.2)
    return network


def condition_for(count: int = 2, side: int = 64) -> Condition:
    generator = torch.Generator().manual_seed(1)
    alpha = torch.rand((count, 1, side, side), generator=generator).round()
    sketch = (torch.rand((count, 3, side, side), generator=generator) * 2 - 1) * alpha
    return Condition(sketch, alpha, torch.linspace(0.2, 0.9, count), torch.rand((count, len(MOOD_AXES))))


def test_start_is_noise_on_blank_paper_and_the_mix_under_paint():
    condition = condition_for()
    noise = torch.randn(2, 3, 64, 64)
    z = flow.start(condition, noise)
    blank = (condition.alpha == 0).expand_as(z)
    assert torch.equal(z[blank], noise[blank])
    strength = condition.strength.view(-1, 1, 1, 1)
    mixed = condition.sketch * (1 - strength) + strength * noise
    assert torch.allclose(z[~blank], mixed[~blank], atol=1e-6)


def test_path_ends_and_velocity_agree():
    x, z = torch.randn(3, 3, 8, 8), torch.randn(3, 3, 8, 8)
    assert torch.equal(flow.interpolate(x, z, torch.zeros(3)), x)
    assert torch.allclose(flow.interpolate(x, z, torch.ones(3)), z)
    t = torch.tensor([0.2, 0.5, 0.9])
    assert torch.allclose(flow.velocity(flow.interpolate(x, z, t), x, t), z - x, atol=1e-5)


@pytest.mark.parametrize(("sampler", "order"), [(ddim, 1), (path_heun, 2)])
def test_sampler_converges_at_its_order(sampler, order):
    """For a Gaussian of standard deviation s the optimal prediction is linear and the exact result known."""
    s, start = 0.4, torch.tensor([1.3], dtype=torch.float64)

    def model(x, t, step):
        return x * (1 - t) * s**2 / ((1 - t) ** 2 * s**2 + t**2)

    errors = []
    for steps in (16, 32, 64, 128):
        times = tuple(0.02 + (1 - 0.02) * t for t in uniform_times(steps))
        exact = start * math.sqrt((1 - times[-1]) ** 2 * s**2 + times[-1] ** 2)
        errors.append((sampler(model, start, Grid(Straight(), times)) - exact).abs().item())
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(abs(slope - order) < 0.35 for slope in slopes[1:]), slopes


def test_sampler_stops_when_told():
    seen = []

    def stop_at_2(index, t, picture):
        seen.append(index)
        return index == 2

    ddim(lambda x, t, step: x, torch.ones(1), uniform(Straight(), 8), callback=stop_at_2)
    assert seen == [0, 1, 2]
    with pytest.raises(ValueError, match="at least one step"):
        uniform_times(0)


@pytest.mark.parametrize("t", [1.0, 0.5, 0.25])
def test_packed_body_equals_network(t):
    network = random_network()
    planes = torch.randint(0, 256, (4, SIDE, SIDE), dtype=torch.uint8)
    alpha = planes[None, 3:] / 255
    paint = flow.soften(torch.cat(((planes[None, :3] / 127.5 - 1) * alpha, alpha), 1))
    condition = condition_for(1, SIDE)._replace(sketch=paint[:, :3], alpha=paint[:, 3:])
    x = torch.randn(1, 3, SIDE, SIDE)
    times, step = torch.tensor([t]), torch.tensor([0.25])
    expected = flow.denoise(network, x, condition, times, step)
    biases = [b[0] for b in network.biases(times, step, condition.strength, condition.mood)]
    residual = patches.of_pixels(x - condition.sketch * (1 - t * float(condition.strength)))
    body = PackedNetwork(network, torch.float32)
    paint, _ = body.read(planes, torch.ones(1))
    made = body.unpack(body(body.pack(residual, t), paint, biases), residual, t)
    made = F.pixel_shuffle(made, flow.CELL_PX) + condition.sketch
    assert (made - expected).abs().max() < 1e-4


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_adapter_samples_the_flow(paper, steps):
    """The adapter, which updates only the residual, gives the same result as the definition of the flow."""
    model = painter.Painter(random_network(), "random", dtype="float32")
    made = model.render(Request(paper, steps=steps, strength=0.7, seed=2)).picture
    pixels = torch.from_numpy(paper.copy()).permute(2, 0, 1)[None].float()
    alpha = pixels[:, 3:] / 255
    mood = torch.tensor([DEFAULT_MOOD])
    paint = flow.soften(torch.cat(((pixels[:, :3] / 127.5 - 1) * alpha, alpha), 1))
    condition = Condition(paint[:, :3], paint[:, 3:], torch.tensor([0.7]), mood)
    z = flow.start(condition, normal(2, height=SIDE, width=SIDE)[None])

    def network(x, t, step):
        return flow.denoise(model.network, x, condition, torch.tensor([t]), torch.tensor([step]))

    expected = ddim(network, z, uniform(Straight(), steps))[0].permute(1, 2, 0)
    expected = expected.mul(127.5).add(127.5).clamp(0, 255).numpy()
    assert np.abs(made - expected).max() <= 0.51


def test_graphed_frames_are_the_same_bytes(paper):
    """The CUDA code path of a frame, with only the graph capture replaced by a stand-in."""
    model = painter.Painter(random_network(), "random", dtype="float32")
    wanted = [model.render(Request(paper, steps=steps, seed=seed)).picture for steps, seed in CALLS]
    captured = []

    def capture(function, inputs):
        captured.append(tuple(inputs["planes"].shape))
        output = function(**inputs)
        return lambda: output.copy_(function(**inputs)), output

    model.use_graphs(capture=capture)
    made = []
    for index, (steps, seed) in enumerate(CALLS):
        frame = model.render(Request(paper, steps=steps, seed=seed))
        made.append(frame.picture)
        eager = "" if index in (1, 3) else f"{NOT_YET}; "
        assert frame.why_not_faster == f"{eager}float32 was asked for"
        assert not model.rest()
    assert all(np.array_equal(a, b) for a, b in zip(made, wanted, strict=True))
    assert len(captured) == len({steps for steps, _ in CALLS}) and model.tiled.why_not_faster == ""


def test_budget_and_radius_hold():
    network = PainterNetwork()
    assert network.gflop(512, 512) <= 6
    assert network.gflop(1024, 1024) == pytest.approx(4 * network.gflop(512, 512))
    radius = network.receptive_radius_px()
    assert radius <= 128
    network = random_network()
    side, middle = 512, 256
    x = torch.randn(1, 7, side, side, requires_grad=True)
    zeros = [torch.full((1, width), 0.5) for _, width in network.biased()]
    network.body(x, zeros)[0, :, middle, middle].sum().backward()
    ys, xs = np.nonzero(x.grad[0].abs().sum(0).numpy())
    reach = max(abs(ys - middle).max(), abs(xs - middle).max())
    print(f"receptive radius: {reach} px by gradient, {radius} px by counting")
    assert 48 < reach <= radius


def test_same_request_same_bytes(shipped, paper):
    request = Request(paper, seed=11, steps=2)
    first = shipped.render(request).picture
    shipped.render(Request(paper, seed=12))
    assert np.array_equal(first, shipped.render(request).picture)


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
@pytest.mark.parametrize("steps", [1, 4])
def test_any_number_of_threads_makes_the_same_bytes(paper, dtype, steps):
    """The thread count varies with the machine's load, so the picture must not depend on it."""
    model = painter.load(ASSETS / "painter.safetensors", device="cpu", dtype=dtype)
    pictures = []
    for count in (1, 2, 3):
        model.threads = ThreadCount(count)
        model.forget()
        pictures.append(model.render(Request(paper, steps=steps)).picture)
    assert (pictures[0] == pictures[1]).all() and (pictures[0] == pictures[2]).all()


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
def test_nothing_changes_beyond_the_radius(dtype):
    """An edit in a corner leaves all pixels beyond the receptive radius bit-identical."""
    model = painter.load(ASSETS / "painter.safetensors", device="cpu", dtype=dtype)
    before = np.zeros((512, 512, 4), np.uint8)
    before[:250] = (118, 169, 222, 255)
    after = before.copy()
    after[:16, :16] = (200, 30, 30, 255)
    a = model.render(Request(before, seed=4)).picture
    model.forget()  # compute both as whole frames
    b = model.render(Request(after, seed=4)).picture
    reach = 16 + model.network.receptive_radius_px()
    assert not np.array_equal(a[:reach, :reach], b[:reach, :reach])
    assert np.array_equal(a[reach:], b[reach:])
    assert np.array_equal(a[:, reach:], b[:, reach:])


def test_bfloat16_on_a_cpu_without_it_is_refused_in_a_line_and_not_taken_from_a_kept_paper(
    paper, tmp_path, monkeypatch, capsys
):
    """An explicit bfloat16 is refused; a paper saved with it on another machine is still painted."""
    monkeypatch.setattr(precision, "has_bf16", lambda device: device != "cpu")
    with pytest.raises(ModelError, match="no bfloat16; leave --dtype out"):
        painter.load(ASSETS / "painter.safetensors", device="cpu", dtype="bfloat16")
    write_png(tmp_path / "paper.png", paper, {"dtype": "bfloat16", "steps": 1})
    words = ["flowbrush", "render", str(tmp_path / "paper.png"), "-o", str(tmp_path / "out.png")]
    monkeypatch.setattr("sys.argv", [*words, "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert not ended.value.code
    assert "saved with bfloat16, which this CPU lacks; the output will differ" in capsys.readouterr().err
    assert read_about((tmp_path / "out.png").read_bytes())["dtype"] == "float32"


def test_free_memory_goes_back_while_a_picture_is_refined_and_seldom(shipped, paper, monkeypatch):
    asked = []
    monkeypatch.setattr(allocator, "trim", lambda: asked.append(True))
    monkeypatch.setattr(shipped, "_trimmed_s", -math.inf)
    shipped.render(Request(paper, seed=20))
    assert not asked, "not while somebody draws"
    for seed in (20, 21):
        shipped.render(Request(paper, seed=seed, steps=2))
    assert len(asked) == 1


def test_crop_with_halo_equals_crop_of_whole(shipped):
    rng = np.random.default_rng(0)
    whole = np.repeat(np.repeat(rng.integers(0, 255, (16, 16, 4), dtype=np.uint8), 32, 0), 32, 1)
    halo = 128
    picture = shipped.render(Request(whole, seed=9)).picture
    part = np.ascontiguousarray(whole[64:448, 64:448])
    crop = shipped.render(Request(part, seed=9, origin=(64, 64))).picture
    inner = crop[halo:-halo, halo:-halo].astype(int)
    wanted = picture[64 + halo : 448 - halo, 64 + halo : 448 - halo].astype(int)
    assert np.abs(inner - wanted).max() <= 1


@pytest.mark.parametrize("size", [(256, 256), (256, 512), (320, 288)])
def test_any_multiple_of_32(shipped, size):
    blank = np.zeros((*size, 4), np.uint8)
    assert shipped.render(Request(blank)).picture.shape == (*size, 3)


def test_time_and_memory_follow_the_area():
    """A large canvas allocates no new system pages after the first frames."""
    resource = pytest.importorskip("resource")
    if not allocator.keep():
        pytest.skip("this C library's malloc cannot be asked")
    model = painter.load(ASSETS / "painter.safetensors", device="cpu")
    request = Request(np.full((1024, 1024, 4), 200, np.uint8))
    faults = []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        model.render(request)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    tensor_pages = 1024 * 1024 * 3 * 4 // 4096  # of three float32 planes; a frame makes ten such sets
    assert min(faults[2:]) < tensor_pages / 4, faults


@pytest.mark.parametrize("fields", [{"steps": 5}, {"steps": 0}, {"strength": 1.5}, {"strength": -0.1}])
def test_request_out_of_range_is_refused(shipped, paper, fields):
    with pytest.raises(ModelError) as error:
        shipped.render(Request(paper, **fields))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(250, 256), (224, 224), (2080, 256)])
def test_size_out_of_range_is_refused(shipped, shape):
    with pytest.raises(ModelError, match="multiple of 32"):
        shipped.render(Request(np.zeros((*shape, 4), np.uint8)))


def test_nan_is_a_failure_not_a_picture(paper):
    network = random_network()
    network.head.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="not a number"):
        painter.Painter(network, "broken", dtype="float32").render(Request(paper))


def test_checkpoint_carries_its_config(tmp_path):
    network = PainterNetwork(NetworkConfig(widths=(16, 32, 32)))
    path = tmp_path / "small.safetensors"
    checkpoint.save(path, network.state_dict(), network.config.as_dict(), dtype=torch.bfloat16)
    loaded = painter.load(path, device="cpu")
    assert loaded.network.config == network.config
    assert len(loaded.card.weights_hash) == 16


@pytest.mark.parametrize("harm", ["missing", "cut", "foreign", "reshaped"])
def test_bad_weights_are_one_line(tmp_path, harm):
    path = tmp_path / "weights.safetensors"
    network = PainterNetwork(NetworkConfig(widths=(16, 32, 32)))
    if harm == "cut":
        checkpoint.save(path, network.state_dict(), network.config.as_dict())
        path.write_bytes(path.read_bytes()[:5000])
    elif harm == "foreign":
        path.write_bytes(b"not weights at all" * 100)
    elif harm == "reshaped":
        checkpoint.save(path, network.state_dict(), NetworkConfig().as_dict())
    with pytest.raises(ModelError) as error:
        painter.load(path, device="cpu")
    assert "\n" not in str(error.value)


def test_absent_cuda_is_said():
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    with pytest.raises(ModelError, match="cuda"):
        painter.load(ASSETS / "painter.safetensors", device="cuda")
