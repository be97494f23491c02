"""Commands read and write files with non-ASCII paths."""

from __future__ import annotations

import ast

from loop_harness import ROOT


def test_no_path_goes_through_opencv():
    """On Windows cv2.imread and imwrite open only paths in the code page, so files are read as bytes."""
    found = []
    for folder in ("renderer", "models", "kernels", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and ast.unparse(node) in ("cv2.imread", "cv2.imwrite"):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found


def test_modules_of_posix_are_guarded():
    """POSIX-only modules are imported only inside `try` or a function: elsewhere Windows would fail."""
    posix = {"fcntl", "grp", "pwd", "resource", "termios", "tty"}
    for folder in ("renderer", "models", "kernels", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                    assert not posix & {name.split(".")[0] for name in names}, path


def test_commands_work_in_a_folder_of_another_alphabet(program, tmp_path, painter_file):
    folder = tmp_path / "山 и é"
    folder.mkdir()
    sketch = folder / "лес.png"
    sketch.write_bytes((ROOT / "assets" / "sketches" / "lake.png").read_bytes())
    words = ("--model", painter_file, "--steps", 1, "--size", 256)
    done = program("render", sketch, "-o", folder / "水.png", *words)
    assert done.returncode == 0 and (folder / "水.png").stat().st_size > 1000
