"""Commands -> parts -> run. The only file that knows renderer, models and kernels."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from models.api import DTYPES, ModelError
from renderer.actions import InputError
from renderer.settings import Look, Paint, side_px

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    help="Paint rough strokes; a one-step rectified flow turns them into a finished picture, live.",
)
DEFAULT_DEMO = "lake"
ASSETS = Path(__file__).resolve().parent / "assets"


def options_of(settings: type):
    """Make a command's options from the fields of a frozen dataclass; the function gets one instance."""

    def wrap(function):
        def command(**values):
            return function(settings(**values))

        parameters = []
        hints = inspect.get_annotations(settings, eval_str=True)
        for field in dataclasses.fields(settings):
            limits = {k: v for k, v in field.metadata.items() if k in ("min", "max")}
            about = typer.Option(help=field.metadata["help"], **limits)
            hint = Annotated[hints[field.name], about]
            parameters.append(
                inspect.Parameter(
                    field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hint
                )
            )
        command.__signature__ = inspect.Signature(parameters)
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return wrap


@app.command()
@options_of(Paint)
def paint(settings: Paint) -> None:
    """Open the window and paint. This is what happens without a command, too."""
    from platformdirs import user_pictures_dir

    from models import registry
    from renderer import pictures
    from renderer.actions import Event, Paste
    from renderer.app import App
    from renderer.report import Watch
    from renderer.window import Headless, Window

    side = side_px(settings.size)
    look = Look(model=settings.model, target_fps=settings.target_fps)
    for name in ("steps", "strength", "seed", "prompt"):
        if getattr(settings, name) is not None:
            look = look.change(name, getattr(settings, name))
    registry.loader(settings.model, settings.device)  # an unknown name is told before a window opens
    paper = pictures.read_bytes(settings.paper) if settings.paper else None
    session = read_demo(settings.demo) if settings.demo is not None else None
    writable(settings.save_last)

    def load(name: str):
        return registry.loader(name, settings.device)

    window = Headless() if settings.headless else Window()
    painting = App(
        window,
        load,
        look,
        size=(side, side),
        save_folder=Path(user_pictures_dir()) / "Flowbrush",
        models=tuple(dict.fromkeys([*registry.ENTRIES, settings.model])),
    )
    try:
        if settings.session:
            painting.record_session(settings.session, registry.weights_hash(settings.model))
        if paper is not None:
            import time

            painting.apply(Event(Paste(paper), time.monotonic()))
        if session is not None:
            painting.play(session)
        watch = Watch(painting)
        watch.run(settings.seconds)
        if settings.save_last:
            pictures.write_png(settings.save_last, window.screen())
        fields = watch.fields()
    finally:
        ended = painting.close()
    if settings.json:
        print(json.dumps(fields))
    if not ended:  # the worker is inside torch's import or a long frame: the interpreter cannot end under it
        sys.stdout.flush()
        os._exit(0)


def read_demo(name: str):
    """A session by its file, or by its name in assets/sessions."""
    from renderer import session

    inside = ASSETS / "sessions" / f"{name}.jsonl"
    if not Path(name).exists() and not inside.exists():
        known = ", ".join(sorted(p.stem for p in (ASSETS / "sessions").glob("*.jsonl")))
        raise InputError(f"there is no session {name!r}; name a file, or one of: {known}")
    return session.read(inside if inside.exists() else Path(name))


def writable(path: Path | None) -> None:
    """Raise InputError now if the file could not be written at the end. Leaves what is there as it is."""
    if path is None:
        return
    if path.exists() and not path.is_file():  # a device such as /dev/null would be replaced by a file
        raise InputError(f"{path} is not a file that can be replaced; name another")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(path.name + ".part")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


@app.command()
def render(
    sketch: Annotated[Path, typer.Argument(help="A sketch: any image; a PNG's alpha is the painted mask.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The PNG to write.")],
    model: Annotated[str | None, typer.Option(help="Model by name, or a .safetensors file.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Side in pixels; by default the sketch's own, if it will do.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=50, help="Steps of the model; 4 by default.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(min=0, max=1, help="How far to leave the strokes.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the noise.")] = None,
    prompt: Annotated[str | None, typer.Option(help="What to paint, in words.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
) -> None:
    """Make one picture from a sketch; a paper that the window saved brings its own settings."""
    import numpy as np

    from models import registry
    from models.api import check_size
    from renderer import pictures
    from renderer.canvas import decode, fit

    data = pictures.read_bytes(sketch)
    about = pictures.read_about(data)
    name = model or str(about.get("model", "painter"))
    look = Look.from_dict({"steps": 4, **about}, name)
    for field, value in (("steps", steps), ("strength", strength), ("seed", seed), ("prompt", prompt)):
        if value is not None:
            look = look.change(field, value)
    paper = decode(data)
    height, width = paper.shape[:2]
    if size is not None:
        height = width = side_px(size)
    try:
        check_size(height, width)
    except ModelError:
        height = width = 512
    paper = np.ascontiguousarray(fit(paper, width, height))
    writable(output)
    engine = registry.loader(name, device, str(about["dtype"]) if about.get("dtype") in DTYPES else None)()
    frame = engine.render(look.request(paper))
    card = engine.card
    made = {**look.as_dict(), "model": name, "weights": card.weights_hash, "dtype": card.dtype}
    pictures.write_png(output, frame.picture, made)
    for note in frame.notes:
        print(f"flowbrush: {note}", file=sys.stderr)


@app.command()
def bench(
    model: Annotated[str, typer.Option(help="Model by name, or a .safetensors file.")] = "painter",
    size: Annotated[int, typer.Option(help="Side in pixels.")] = 512,
    steps: Annotated[int, typer.Option(min=1, max=50)] = 1,
    frames: Annotated[int, typer.Option(min=1, max=100_000)] = 200,
    strength: Annotated[float, typer.Option(min=0, max=1)] = 0.6,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure frame times and the share of the machine's matrix-product peak, without a window."""
    from models import registry

    side = side_px(size)
    load = registry.loader(model, device)
    import cv2

    from models.bench import measure
    from renderer.canvas import decode, fit

    sketch = ASSETS / "sketches" / "lake.png"
    paper = fit(decode(sketch.read_bytes()), side, side)
    cv2.setNumThreads(1)
    fields = measure(load(), paper, steps=steps, frames=frames, strength=strength, seed=seed)
    report(fields, json_)


@app.command()
def models(json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """What can run here: family, licence, size, and what is there already."""
    from models.machine import free_memory_mb
    from models.registry import describe

    rows, free = describe(), free_memory_mb()
    if json_:
        print(json.dumps({"models": rows, "memory_free_mb": free}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "family", "steps", "licence", "weights", "memory", "")
    for row in rows:
        size = f"{row['weights_mb']} MB" if row["present"] else "not here"
        steps = "-".join(str(count) for count in row["steps"])
        memory = f"{row['memory_mb']} MB"
        table.add_row(row["name"], row["family"], steps, row["licence"], size, memory, row["about"])
    Console().print(table)
    if free is not None:
        print(f"memory free: {free} MB")


@app.command()
def doctor(json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Devices, versions, which path is active, and why not a faster one."""
    from models.machine import describe

    report(describe(), json_)


@app.command()
def train(
    stage: Annotated[str, typer.Argument(help="data, teacher, finish, evaluate, export, or all.")],
    folder: Annotated[Path | None, typer.Option(help="Where data and checkpoints are kept.")] = None,
    quick: Annotated[
        bool, typer.Option(help="A run of a minute that proves the stage works; no use to paint.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="finish: learn from the pictures in this folder.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="evaluate: print one JSON object.")] = False,
) -> None:
    """The painter's training stages. Each goes on where it was killed."""
    from models.training import recipe

    result = recipe.run(stage, folder, quick=quick, images=images)
    if result is not None:
        report(result, json_)


def report(fields: dict, as_json: bool) -> None:
    if as_json:
        print(json.dumps(fields))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value")
    for name, value in fields.items():
        shown = "  ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(name, shown)
    Console().print(table)


def main() -> None:
    """Run a command; a bad input is one line on stderr and exit code 1, a wrong usage exit code 2."""
    arguments = sys.argv[1:]
    if not arguments or (arguments[0].startswith("-") and arguments[0] != "--help"):
        arguments = ["paint", *arguments]
    for at, word in enumerate(arguments):
        if word == "--demo" and (at + 1 == len(arguments) or arguments[at + 1].startswith("-")):
            arguments[at] = f"--demo={DEFAULT_DEMO}"
    try:
        app(args=arguments, prog_name="flowbrush")
    except (InputError, ModelError) as error:
        print(f"flowbrush: error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
