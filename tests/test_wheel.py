"""The built wheel contains every data file that the program opens, and runs from an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 240


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, since a build writes into its source folder
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "main.py"):
        shutil.copy(ROOT / name, source)
    for name in ("renderer", "models", "kernels", "assets"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, source, cwd=folder)
    (built,) = folder.glob("flowbrush-*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_code_and_data_and_no_tests(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"main.py", "renderer/app.py", "models/api.py", "kernels/reference.py"} <= names
    assert {"assets/painter.safetensors", "assets/sessions/lake.jsonl", "assets/sketches/lake.png"} <= names
    assert {"assets/fonts/NotoSans-Regular.ttf", "assets/icon.png"} <= names
    assert not [name for name in names if name.startswith(("tests/", "tools/", "docs/"))]


@pytest.mark.slow
def test_flowbrush_paints_from_an_empty_folder(wheel, tmp_path):
    """Runs the installed program: its modules come from the unpacked wheel, not from this checkout."""
    home, empty = tmp_path / "home", tmp_path / "empty"
    empty.mkdir()
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-deps", "--target", home, wheel, cwd=tmp_path)
    places = {"PYTHONPATH": str(home), "FLOWBRUSH_DATA": str(tmp_path / "data")}
    code = "import main, renderer.app, models.api, kernels, assets\nprint(main.__file__, assets.__file__)"
    found = run(sys.executable, "-c", code, cwd=empty, **places).stdout
    assert found.count(str(home)) == 2
    program = next((home / "bin").glob("flowbrush*")) if (home / "bin").exists() else None
    start = (sys.executable, program) if program else (sys.executable, "-m", "main")
    words = ("paint", "--headless", "--demo", "lake", "--seconds", "6", "--json", "--save-last", "last.png")
    figures = json.loads(run(*start, *words, cwd=empty, **places).stdout)
    assert (
        figures["model"] == "painter"
        and figures["model_calls"] > 0
        and figures["model_fps"] > 0
        and figures["errors"] == 0
    )
    assert (empty / "last.png").stat().st_size > 10_000
