"""Tests of the import rules, the architecture page, and the methods that both windows share."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections import Counter
from pathlib import PurePosixPath

import pytest
from loop_harness import ROOT

from renderer.ui.headless import Headless
from renderer.ui.window import Window

PACKAGES = ("renderer", "models", "kernels")
FILES = sorted(
    path for name in (*PACKAGES, "main.py") for path in [*ROOT.glob(f"{name}/**/*.py"), ROOT / name]
)
FILES = [path for path in FILES if path.suffix == ".py"]


def fresh(code: str, *flags: str) -> str:
    """Run code in a new interpreter in the repository; return its output."""
    command = [sys.executable, *flags, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(statement: str) -> set[str]:
    """Top-level names of the modules that a statement loads in a new interpreter."""
    return set(fresh(f"{statement}\nimport sys; print(*{{m.split('.')[0] for m in sys.modules}})").split())


def imports(path) -> set[str]:
    """Modules named in the import statements of a file, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def tops(path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


# Direction of imports


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_import_crosses_a_wall(path):
    package = path.relative_to(ROOT).parts[0]
    if package == "renderer":
        assert not tops(path) & {"torch", "kernels", "diffusers", "transformers", "triton", "main"}
        ours = {name for name in imports(path) if name.split(".")[0] == "models"}
        assert all(name == "models.api" or name.startswith("models.api.") for name in ours), ours
    elif package == "models":
        assert not tops(path) & {"pygame", "pygame_gui", "renderer", "main"}
    elif package == "kernels":
        assert not tops(path) & {"pygame", "pygame_gui", "renderer", "models", "main"}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import models, models.api", {"torch", "pygame", "cv2", "renderer", "kernels"}),
        ("import models.registry", {"torch", "pygame", "cv2", "renderer", "kernels"}),
        ("import renderer.app, renderer.cli.report, renderer.ui.window", {"torch", "kernels", "diffusers"}),
        ("import main", {"torch", "kernels", "diffusers", "pygame"}),
        ("import kernels", {"pygame", "models", "renderer", "triton", "diffusers"}),
        ("import models.painter.painter", {"pygame", "renderer", "diffusers", "transformers"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_loaded(statement, absent):
    assert not loaded_by(statement) & absent


def test_models_api_needs_numpy_only():
    assert loaded_by("import models.api") - loaded_by("import numpy") - sys.stdlib_module_names == {"models"}


@pytest.mark.parametrize("name", [*PACKAGES, "main"])
def test_each_package_imports_alone(name):
    fresh(f"import {name}")


@pytest.mark.parametrize("package", PACKAGES)
def test_each_file_imports_first(package):
    """Every file can be the first import of its package. Torch stays imported to save time."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES]
    names = [name.removesuffix(".__init__") for name in names if name.split(".")[0] == package]
    forget = "" if package == "kernels" else package  # ops can be registered only once per process
    fresh(f"""
import importlib, sys
for name in {names!r}:
    for old in [m for m in sys.modules if m.split(".")[0] == {forget!r}]:
        del sys.modules[old]
    importlib.import_module(name)
""")


def test_the_window_is_up_and_painted_on_before_torch_is_imported():
    """Run the first tick of the real loop with a stroke. Torch is imported later, by the worker thread."""
    code = """
import sys, time
from models import registry
from renderer.actions import Begin, Brush, End, Event
from renderer.app import App
from renderer.picture_params import PictureParams
from renderer.ui.headless import Headless
script = [Event(Begin(Brush(), (50, 50, 0.8)), 0.0), Event(End(), 0.0)]
app = App(Headless(script=script), lambda name, told: lambda: 1 / 0, PictureParams(), size=(256, 256))
registry.loader("painter")
app.tick()
assert app.canvas.pixels[50, 50, 3] and app.stats.flips == 1
print(*sys.modules)
app.close()
"""
    assert not {"torch", "kernels", "diffusers"} & {name.split(".")[0] for name in fresh(code).split()}


@pytest.mark.parametrize("package", ["renderer", "kernels"])
def test_times_are_those_of_perf_counter(package):
    """time.monotonic has 15.6 ms steps on Windows before Python 3.13; two clocks cannot be compared."""
    paths = [path for path in FILES if path.relative_to(ROOT).parts[0] in (package, "main.py")]
    for path in paths:
        tree = ast.walk(ast.parse(path.read_text("utf-8")))
        names = {node.attr for node in tree if isinstance(node, ast.Attribute)}
        assert not names & {"monotonic", "monotonic_ns"} and "time.monotonic" not in imports(path), path


# The package name kernels


@pytest.mark.slow
def test_kernels_stands_beside_transformers_and_diffusers():
    """transformers detects a package named kernels by its version; ours, first on the path, has none."""
    code = (
        "import kernels; assert not hasattr(kernels, '__version__')\n"
        "import transformers, diffusers\n"
        "from diffusers import AutoencoderTiny, UNet2DConditionModel\n"
        "from transformers import CLIPTextModel\n"
        "import kernels.ops.noise\n"
        "print(kernels.__file__)"
    )
    assert str(ROOT / "kernels") in fresh(code)


# Shared interface of both windows


def methods(kind: type) -> dict[str, inspect.Signature]:
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: inspect.signature(made) for name, made in found if not name.startswith("_")}


def test_window_and_headless_have_the_same_methods():
    assert methods(Headless) == methods(Window)
    assert {"poll", "draw", "flip", "screen", "close"} <= set(methods(Window))


# docs/architecture.md


def tracked() -> list[str]:
    """Files tracked by git or, in a copy without git, all files except build leftovers."""
    try:
        done = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=True)
        return done.stdout.split()
    except (OSError, subprocess.CalledProcessError):
        leftovers = ("__pycache__", ".egg-info", ".pytest_cache", ".ruff_cache", ".hypothesis")
        files = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()]
        return [name for name in files if not any(word in name for word in leftovers)]


def test_no_folder_is_crowded():
    """A folder has at most a dozen modules, not counting __init__."""
    counts = Counter(path.parent for path in FILES if path.name != "__init__.py")
    assert [folder.relative_to(ROOT) for folder, count in counts.items() if count > 13] == []


def test_the_architecture_page_names_every_folder():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = {name.rstrip("/") for name in re.findall(r"^\| `([\w/]+/)` \|", text, re.M)}
    parents = {parent.as_posix() for name in tracked() for parent in PurePosixPath(name).parents}
    folders = {name for name in parents if name != "." and not name.startswith(".")}
    assert named == folders
