"""The command line. The only file that imports renderer, models and kernels."""

from __future__ import annotations

import json
import os

# By default OpenMP threads spin while they wait for a core that another program uses. With a busy loop on
# one of two cores, pen latency (p95) was 1.3 s; with passive waiting it is 0.07 s. Read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from assets import ASSETS
from models.api import Img2Img, ModelError, ProgressCallback, check_steps, no_progress
from renderer.actions import InputError
from renderer.cli.lab_settings import Compare, Race, Straighten, report_folder
from renderer.cli.live_settings import Convert, LivePaint
from renderer.cli.options import WrongUsage, check_installed, one_line, options_of, report
from renderer.cli.settings import Bench, Render, Replay, Serve, Sessions, Train, size_px
from renderer.files.outputs import check_film, writable
from renderer.picture_params import PictureParams
from renderer.runtime.load_progress import Progress
from renderer.stroke_log.store import LogStore, find_log

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    help="Paint rough strokes; a one-step rectified flow turns them into a picture, live.",
)
BY_ITSELF = {
    "--demo": "lake",
    "--ray": "local",
    "--source": "webcam",
    "--projector": "0",
    "--osc": "9000",
}  # value of an option given without one


@app.command()
@options_of(LivePaint)
def paint(settings: LivePaint) -> None:
    """Open the window and paint (the default command)."""
    from platformdirs import user_pictures_dir

    from models import registry
    from models.painter import prompt_mood
    from renderer.actions import Event
    from renderer.app import App
    from renderer.canvas.export import check_paper_output, write_paper
    from renderer.canvas.import_image import read_import
    from renderer.cli.live_setup import live_parts
    from renderer.cli.report import Watch
    from renderer.files import png
    from renderer.model_switcher import explicit_settings
    from renderer.persistence import Files
    from renderer.stroke_log.log import read
    from renderer.ui.headless import Headless
    from renderer.ui.input.keymap import load_keymap, user_keys_path
    from renderer.ui.window import Window

    def load(name: str, progress: ProgressCallback = no_progress) -> Callable[[], Img2Img]:
        extras = settings.extras() if name == settings.model else {}  # for that model only
        if settings.remote is not None:
            from models.cluster import remote

            if extras:
                raise InputError(f"--{next(iter(extras))} goes with `serve`: the model runs there")
            how = {"codec": settings.remote_codec, "quality": settings.remote_quality}
            return remote.loader(settings.remote, name, progress=progress, **how)
        budget = {"side_px": max(size), "memory_mb": settings.memory_mb}
        return registry.loader(name, settings.device, progress=progress, **budget, **extras)

    def open_capture():
        from renderer.recording.capture import WindowCapture
        from renderer.recording.encoder import streaming
        from renderer.recording.recorder import Recorder

        streamed = {}
        if live.stream is not None:
            streamed = {"outputs": [live.stream], "options": streaming(settings.stream_kbps)}
        recorder = Recorder(fps=settings.record_fps, ring_s=settings.keep_seconds, **streamed)
        if settings.record is not None:
            recorder.start(settings.record)
        return WindowCapture(recorder, layout, folder)

    far = settings.remote is not None
    size = size_px(settings.size)
    load(settings.model)  # an unknown name is reported before a window opens
    paper, about = read_import(png.read_bytes(settings.paper), size) if settings.paper else (None, {})
    params = PictureParams.from_dict(about, settings.model).asked(settings)
    params = params.change("target_fps", settings.target_fps)
    demo = read(find_log(settings.demo)) if settings.demo is not None else None
    for output in (settings.save_last, settings.save_paper, settings.session):
        writable(output, overwrite=settings.overwrite)
    check_paper_output(settings.save_paper)
    layout = settings.layout or ("picture" if settings.stream is not None else "side")
    check_film(settings.record, layout, overwrite=settings.overwrite)
    resumed = find_log(settings.resume) if settings.resume is not None else None
    if resumed is not None:
        read(resumed)  # report an unreadable log now

    folder = Path(user_pictures_dir()) / "Flowbrush"
    files = Files(
        store=LogStore(),
        store_bytes=settings.log_mb * 1e6,
        log=settings.session,
        weights="" if far else registry.weights_hash(settings.model),
        open_capture=open_capture if settings.record or settings.keep_seconds or settings.stream else None,
    )
    scale = settings.scale or None
    live = live_parts(settings, size)
    try:
        window = (
            Headless(scale=scale or 1.0)
            if settings.headless
            else Window(scale=scale, keymap=load_keymap(user_keys_path()))
        )
    except BaseException:
        live.close()
        raise
    try:
        painting = App(
            window,
            load,
            params,
            size=size,
            models=(settings.model,) if far else tuple(dict.fromkeys([*registry.ENTRIES, settings.model])),
            read_prompt=prompt_mood.read,
            interim_model="painter" if not far and registry.is_pretrained(settings.model) else "",
            explicit=explicit_settings(params if about else settings),
            save_folder=folder,
            files=files,
            demo=demo,
            live=live,
        )
    except BaseException:
        live.close()
        window.close()
        raise
    try:
        if resumed is not None:
            painting.persistence.restore(resumed)
        if settings.record:
            painting.persistence.open_recording()
        if paper is not None:
            painting.apply(Event(paper, time.perf_counter()))
        watch = Watch(painting)
        watch.run(settings.seconds, until_failed=settings.headless)
        if settings.save_last:
            png.write_png(settings.save_last, window.screen(), overwrite=settings.overwrite)
        if settings.save_paper:
            about = {"model": settings.model, **painting.scene.params.as_dict()}
            write_paper(settings.save_paper, painting.canvas, about, overwrite=settings.overwrite)
        fields = watch.fields()
    finally:
        ended = painting.close()
    if settings.json:
        print(json.dumps(fields))
    failed = settings.headless and fields["problem"]
    if failed and failed != painting.engine.error:  # that error was already reported
        print(f"flowbrush: error: {failed}", file=sys.stderr, flush=True)
    if not ended:  # the worker is importing torch or rendering a long frame: the interpreter cannot exit now
        sys.stdout.flush()
        os._exit(1 if failed else 0)
    if failed:
        raise typer.Exit(1)


@app.command("render")
@options_of(Render)
def render_command(settings: Render) -> None:
    """Make pictures from sketches; a saved paper or OpenRaster file brings its own settings."""
    from models import registry
    from renderer.cli.render import render

    if render(settings, registry):
        raise typer.Exit(1)


@app.command()
@options_of(Convert)
def convert(settings: Convert) -> None:
    """Run every frame of a video through a model; keeps the sound, resumes after a stop."""
    from models import registry
    from renderer.offline.convert import run

    card = registry.expected(settings.model)
    check_steps(card, settings.steps)
    extras = {"side_px": settings.size or 512, **settings.extras()}
    run(settings, registry.loader(settings.model, settings.device, progress=Progress(), **extras), card)


@app.command()
@options_of(Replay)
def replay(settings: Replay) -> None:
    """Render a stroke log again: at another size, rate, number of steps, or with another model."""
    import functools

    from models import registry
    from renderer.offline.segments import run

    if settings.model is not None:
        registry.loader(settings.model, settings.device)
        check_steps(registry.expected(settings.model), settings.steps)
    names = tuple(registry.ENTRIES)
    if settings.ray is None:
        if settings.any_device:
            raise InputError("--any-device goes with --ray: one machine is one kind of device")
        run(settings, names, functools.partial(registry.loader, device=settings.device))
        return
    from models.cluster.tasks import open_cluster
    from renderer.offline.cluster import OnCluster

    used = names if settings.model is None else (settings.model,)
    nodes = {"models": used, "any_device": settings.any_device, "workers": settings.workers}
    with open_cluster(settings.ray, device=settings.device, **nodes) as cluster:
        run(settings, names, functools.partial(registry.loader, device=cluster.device), OnCluster(cluster))


@app.command()
@options_of(Sessions)
def sessions(settings: Sessions) -> None:
    """List the saved stroke logs; `sessions show LOG` describes one."""
    from renderer.cli.sessions import tell

    tell(settings)


@app.command()
@options_of(Bench)
def bench(settings: Bench) -> None:
    """Measure frame times, and the achieved share of the matrix-product peak, without a window."""
    from models import registry

    if settings.results:
        from models.benchmarks import results_table

        return results_table.show(tuple(settings.results), as_json=settings.json)
    width, height = size_px(settings.size)
    extras = {"side_px": max(width, height), **settings.extras()}
    load = registry.loader(settings.model, settings.device, progress=Progress(), **extras)
    check_steps(registry.expected(settings.model), settings.steps)
    import cv2

    from models.benchmarks.frame_times import measure
    from renderer.canvas.materials import from_colors
    from renderer.files.images import decode, fit
    from renderer.offline.session_benchmark import StrokeLogBenchmark

    sketch = ASSETS / "sketches" / "lake.png"
    paper = fit(decode(sketch.read_bytes()), width, height)
    cv2.setNumThreads(1)
    wanted = {name: getattr(settings, name) for name in ("steps", "frames", "strength", "seed", "look")}
    wanted["materials"] = from_colors(paper)
    one, told = load(), {}
    if settings.session is not None:
        one = StrokeLogBenchmark(one, find_log(settings.session), (width, height), settings.frames)
        told = {"session": settings.session, "papers": len(one.moments)}
    report(measure(one, paper, **wanted) | told, settings.json)


@app.command()
def models(json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """List the models: family, licence, size, memory, and whether they are downloaded."""
    from models.model_table import show

    show(json_)


@app.command()
def doctor(json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show devices and versions, and test every path that can run a model."""
    from models.doctor import describe

    report(describe(), json_)


@app.command()
@options_of(Serve)
def serve(settings: Serve) -> None:
    """Hold a model on this machine, or on a cluster, for people who paint elsewhere with `--remote`."""
    from models import registry
    from models.cluster import serving

    side = max(size_px(settings.size))
    load = registry.loader(settings.model, settings.device, side_px=side, **settings.extras())
    where = serving.Where(settings.bind, settings.port, settings.ray)
    serving.serve(settings.model, load, where=where, device=settings.device, painters=settings.painters)


@app.command()
@options_of(Train)
def train(settings: Train) -> None:
    """Train the painter, stage by stage. A stopped stage continues where it was."""
    from models import training
    from models.training.allocator_settings import restart_with_settings

    if settings.ray is not None:
        from models.cluster.training import run_stage

        nodes = {"address": settings.ray, "workers": settings.workers, "any_device": settings.any_device}
        options = {name: getattr(settings, name) for name in ("painter", "quick", "images", "pictures")}
        run_stage(settings.stage, settings.folder, **nodes, **options)
        return
    if settings.workers > 1 or settings.any_device:
        raise InputError("--workers and --any-device go with --ray")
    restart_with_settings()  # before torch is imported
    result = training.run_stage(
        settings.stage,
        settings.folder,
        painter=settings.painter,
        quick=settings.quick,
        images=settings.images,
        pictures=settings.pictures,
    )
    if result is not None:
        report(result, settings.json)


@app.command()
@options_of(Straighten)
def straighten(settings: Straighten) -> None:
    """Show how reflow straightens the paths of a two-dimensional rectified flow."""
    from renderer import straighten_view

    straighten_view.check_output(settings.output)
    writable(settings.output, overwrite=settings.overwrite)
    import torch

    from models.lab import straighten as flows

    torch.set_num_threads(1)  # a second thread slows down work on arrays this small
    snapshots = flows.straighten(settings.source, settings.target, steps=settings.steps, seed=settings.seed)
    words = f"{settings.source} to {settings.target}"
    last = straighten_view.watch(
        snapshots,
        words,
        headless=settings.headless,
        output=settings.output,
        overwrite=settings.overwrite,
    )
    stages = {shown.name: shown.numbers() | {"seconds": round(shown.seconds, 1)} for shown in last}
    report(stages, settings.json)


@app.command()
@options_of(Compare)
def compare(settings: Compare) -> None:
    """Compare samplers and models at many and few steps; writes a report."""
    folder = report_folder(settings)
    check_installed(("numba", "matplotlib"), extra="lab")
    from models.lab import compare as lab
    from models.lab import report as written

    figures = lab.compare(lab.plan_of(settings.quick), settings.contenders, settings.weights, settings.seed)
    if folder is not None:
        written.write(figures, folder)
    for line in figures["missing"]:
        print(f"flowbrush: {line}", file=sys.stderr)
    if settings.json:
        print(json.dumps(written.without_pictures(figures)))
    elif folder is not None:
        print(folder / "report.md")


@app.command()
@options_of(Race)
def race(settings: Race) -> None:
    """Run models side by side on the same strokes, live."""
    from renderer.race import command

    session = command.check(settings)
    from models.lab import racer

    found, choices, missing = racer.field(settings.columns, settings.weights, settings.model)
    for line in missing:
        print(f"flowbrush: {line}", file=sys.stderr)
    figures, ended = command.run(
        settings,
        lambda spec: racer.loader(spec, settings.weights),
        found,
        choices,
        session,
        "; ".join(missing),
    )
    if settings.json:
        print(json.dumps(figures | {"missing": missing}))
    if not ended:  # as in `paint`
        sys.stdout.flush()
        os._exit(0)


def main() -> None:
    """Run a command. Bad input prints one line on stderr and exits with 1, wrong usage with 2."""
    arguments = sys.argv[1:]
    if not arguments or (arguments[0].startswith("-") and arguments[0] != "--help"):
        arguments = ["paint", *arguments]
    for at, word in enumerate(arguments):
        alone = at + 1 == len(arguments) or arguments[at + 1].startswith("-")
        if word in BY_ITSELF and alone:
            arguments[at] = f"{word}={BY_ITSELF[word]}"
    try:
        sys.exit(app(args=arguments, prog_name="flowbrush", standalone_mode=False))
    except (InputError, ModelError, WrongUsage) as error:
        print(f"flowbrush: error: {one_line(error)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, WrongUsage) else 1)


if __name__ == "__main__":
    main()
