"""Tests of kernel dispatch and minimal setups: no triton, no GPU, another package named `kernels`."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import kernels
from kernels import dispatch
from kernels.ops import glu, groupnorm, noise, paper
from kernels.testing.cases import CASES, call, copied
from kernels.testing.inputs import maker

ROOT = Path(__file__).parents[1]


def run(code: str) -> str:
    """Run code in a new interpreter with the repository root first on its path; return its output."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def choice():
    yield
    kernels.use("auto")


def test_use_returns_the_choice_before():
    assert kernels.use("reference") == "auto"
    assert kernels.use("auto") == "reference"
    with pytest.raises(ValueError, match="auto, reference, triton"):
        kernels.use("cuda")


def test_auto_goes_by_device():
    x = torch.zeros(2)
    assert kernels.active(x) == "reference"
    assert kernels.active(x.to("meta")) == "triton"
    kernels.use("reference")
    assert kernels.active(x.to("meta")) == "reference"


@pytest.mark.skipif(torch.cuda.is_available(), reason="here triton can run")
def test_explicit_triton_says_why_it_cannot_run():
    with pytest.raises(RuntimeError, match=r"triton.*(CUDA|imported)"):
        kernels.use("triton")
    assert kernels.describe()["choice"] == "auto"


def test_triton_absent():
    """Without triton everything runs on the reference."""
    code = """
import os, torch
os.environ["TRITON_INTERPRET"] = "1"
sys.modules["triton"] = None
import kernels
from kernels import dispatch
from kernels.testing.cases import CASES, call
from kernels.testing.inputs import maker
for case in CASES.values():
    shape = tuple(min(side, 64) for side in case.served[0][0])
    out = call(case.reference, case.inputs(maker(), shape, torch.float32))
    assert all(part.float().isfinite().all() for part in out), case.name
from kernels.ops.groupnorm import group_norm_silu
x = torch.randn(1, 8, 4, 4, requires_grad=True)
group_norm_silu(x, 2, torch.ones(8), torch.zeros(8)).sum().backward()
assert x.grad is not None
try:
    kernels.use("triton")
except RuntimeError as error:
    print(error)
"""
    assert "triton cannot be imported" in run(code)


def test_import_is_cheap_and_keeps_its_walls():
    listed = "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    alone, all_ops = run(f"import kernels; {listed}\nimport kernels.testing.cases; {listed}").splitlines()
    assert not {"triton", "pygame", "models", "renderer", "diffusers"} & set(alone.split())
    loaded = set(all_ops.split())
    assert not {"pygame", "models", "renderer", "diffusers"} & loaded
    assert ("triton" in loaded) == torch.cuda.is_available()  # loaded only with a GPU, for it brings LLVM
    assert not hasattr(kernels, "__version__")


@pytest.mark.slow
def test_the_other_kernels_package_is_not_us():
    """`transformers` looks for a package of this name and must not mistake ours for it."""
    pytest.importorskip("diffusers")
    from diffusers import AutoencoderTiny, UNet2DConditionModel
    from transformers import AutoTokenizer, CLIPTextModel
    from transformers.utils.import_utils import is_kernels_available

    assert all((AutoencoderTiny, UNet2DConditionModel, AutoTokenizer, CLIPTextModel))
    assert not is_kernels_available()
    assert sys.modules["kernels"] is kernels and kernels.__path__ == [str(ROOT / "kernels")]


@pytest.mark.parametrize("name", list(CASES))
def test_meta_tensors_see_one_op(name):
    """Meta tensors run through the same op as CUDA and give the shapes and dtypes of the reference."""
    case = CASES[name]
    shape, dtype, options = case.served[-1]
    out = call(case.module.OP, case.inputs(maker("meta"), shape, dtype, **options))
    small = tuple(side if side < 64 else 64 for side in shape)
    arguments = case.inputs(maker(), small, dtype, **options)
    real = call(case.reference, copied(arguments))
    assert all(part.is_meta for part in out)
    fake = call(case.module.OP, case.inputs(maker("meta"), small, dtype, **options))
    assert [(t.shape, t.dtype) for t in fake] == [(t.shape, t.dtype) for t in real]


def test_compiled_graph_holds_one_op():
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph)
        return graph

    x = torch.zeros(3, 8, device="meta")
    torch.compile(lambda x: glu.glu(x, "silu"), backend=keep)(x)
    targets = [str(node.target) for node in graphs[0].graph.nodes if node.op == "call_function"]
    assert targets == ["flowbrush.glu.default"]


def test_gradients_take_the_reference():
    x = torch.randn(1, 8, 3, 3, requires_grad=True)
    assert kernels.active(x) == "reference"
    groupnorm.group_norm_silu(x, 4, torch.ones(8), torch.zeros(8)).sum().backward()
    assert x.grad.isfinite().all()
    assert kernels.active(torch.zeros(1, device="meta"), None, x) == "reference"
    with torch.no_grad():
        assert kernels.active(torch.zeros(1, device="meta"), None, x) == "triton"


def test_bad_arguments_are_named():
    x = torch.zeros(1, 6, 4, 4)
    with pytest.raises(ValueError, match="4 groups do not divide 6"):
        groupnorm.group_norm_silu(x, 4, x[0, :, 0, 0], x[0, :, 0, 0])
    with pytest.raises(ValueError, match="gelu or silu, not 'relu'"):
        glu.glu(x, "relu")
    with pytest.raises(ValueError, match="two equal halves, not 5"):
        glu.glu(torch.zeros(5), "silu")
    sheet = torch.zeros(4, 4, 4, dtype=torch.uint8)
    for both in ({}, {"noise": torch.zeros(1, 3, 4, 4), "anchor": noise.anchor(0)}):
        with pytest.raises(ValueError, match="either noise or an anchor"):
            paper.paper_in(sheet, 0.5, **both)


@pytest.mark.parametrize("name", list(CASES))
def test_cost_counts_at_least_what_goes_in_and_out(name):
    """Bytes of the cost function match the tensors that the op must touch: between 0.66 and 1.6 times."""
    case = CASES[name]
    for shape, dtype, options in case.served:
        flops, size = case.cost(shape, dtype, options)
        arguments = case.inputs(maker("meta"), shape, dtype, **options)
        out = call(case.module.OP, arguments)
        tensors = [t for t in (*arguments, *out) if isinstance(t, torch.Tensor)]
        if name == "normal":
            touched = arguments[0].nbytes
        elif name == "norm_rotary":  # the value part of the packed product is not touched
            touched = sum(t.nbytes for t in tensors) - arguments[0].nbytes // 3
        else:
            touched = sum(t.nbytes for t in tensors)
        assert flops > 0
        assert 0.66 * touched <= size <= 1.6 * touched, (shape, size, touched)


# Fails in Triton's driver, before the tensor is read
TRIAL = """
import os, torch
os.environ["TRITON_INTERPRET"] = "0"
import kernels
from kernels import dispatch
from kernels import dispatch
torch.cuda.is_available = lambda: True
print(dispatch.why_no_launch(torch.device("meta")))
"""


@pytest.mark.parametrize("compiler", [False, True])
def test_no_c_compiler_is_the_reason_why_triton_does_not_run(compiler, tmp_path, monkeypatch):
    """Triton compiles C code when its driver is first used; with a compiler this test sees another reason."""
    pytest.importorskip("triton")
    (tmp_path / "libcuda.so.1").touch()
    monkeypatch.setenv("TRITON_LIBCUDA_PATH", str(tmp_path))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    if not compiler:
        monkeypatch.setenv("PATH", str(tmp_path))
    elif shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    reason = run(TRIAL)
    assert reason.startswith("a trial launch failed: ")
    assert ("C compiler" in reason) != compiler, reason


class OnSecondDevice(torch.Tensor):
    device, is_cuda = torch.device("cuda:1"), True


def test_where_a_trial_launch_fails_the_reference_runs_and_says_why(monkeypatch):
    """On a card whose driver Triton cannot use, an error is raised only if Triton was requested."""
    tried = []

    def why(device):
        tried.append(device)
        return "a trial launch failed: Failed to find C compiler."

    monkeypatch.setattr(dispatch, "MISSING", "")
    monkeypatch.setattr(dispatch, "why_no_launch", why)
    x = torch.zeros(2).as_subclass(OnSecondDevice)
    assert kernels.active(x) == "reference"
    assert kernels.why_not_triton(x.device) == "a trial launch failed: Failed to find C compiler."
    assert tried == [torch.device("cuda:1")] * 2
    monkeypatch.setattr(dispatch, "why_no_launch", lambda device: "")
    assert kernels.active(x) == "triton"


def test_a_kernel_is_launched_under_the_device_of_its_tensors(monkeypatch):
    """Triton launches on the stream of the current device, so that must be set to the tensors' device."""
    calls = []

    @contextlib.contextmanager
    def device(which):
        calls.append(f"under {which}")
        yield
        calls.append("back")

    class Kernel:
        def __getitem__(self, grid):
            return lambda *args, **options: calls.append(f"launched {grid}")

    monkeypatch.setattr(torch.cuda, "device", device)
    x = torch.zeros(2).as_subclass(OnSecondDevice)
    dispatch.Launch(Kernel(), (3,), (5, x)).run()
    assert calls == ["under cuda:1", "launched (3,)", "back"]
    dispatch.Launch(Kernel(), (0,), (5, x)).run()
    dispatch.Launch(Kernel(), (1,), (torch.zeros(2),)).run()
    assert calls[3:] == ["launched (1,)"]
