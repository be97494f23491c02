"""Painting with a remote model in the real loop, over slow, lossy or broken links."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from loop_harness import ROOT, LoopHarness
from ray_cluster import TOKEN, ray_or_skip
from served_model import ServedModel
from slow_link import SlowLink

from models.api import ModelError, Request
from models.cluster import remote
from models.cluster.remote import RemoteModel

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster")]  # one Ray cluster at a time
MOST_TICK_MS = 100.0  # p99, with other load on this machine: a wait for the link is longer
RAW_BYTES = 256 * 256 * 3


@pytest.fixture(scope="module")
def served():
    """Server of the painter model."""
    ray_or_skip()
    one = ServedModel()
    yield one
    one.stop()


@pytest.fixture
def link(served):
    one = SlowLink(served.port)
    yield one
    one.close()


def far_away(link: SlowLink) -> LoopHarness:
    """A loop that is connected, which starts four processes, and idle after its first picture."""
    loop = LoopHarness(remote.loader(f"127.0.0.1:{link.port}", "painter"))
    loop.until(lambda: loop.app.picture is not None or loop.app.engine.error, timeout_s=240.0)
    return loop.ready()


def strokes(loop: LoopHarness, count: int) -> None:
    """Paint short strokes at different places and wait for the picture of each."""
    for number in range(count):
        x, y = 40 + 37 * number % 170, 50 + 61 * number % 150
        shown = loop.shown
        loop.stroke((x, y), (x + 12, y + 8))
        loop.until(lambda shown=shown: loop.shown > shown, timeout_s=30.0)


@pytest.mark.parametrize(("delay_ms", "loss"), [(5, 0.0), (30, 0.02), (150, 0.0)])
def test_the_pen_never_waits_and_pictures_are_those_of_the_model(link, served, delay_ms, loss):
    loop = far_away(link)
    try:
        link.delay_ms, link.loss = delay_ms, loss
        loop.app.stats.tick_ms = type(loop.app.stats.tick_ms)("d")
        strokes(loop, 6)
        loop.rest()
        stats = loop.app.stats
        assert np.percentile(stats.tick_ms, 99) < MOST_TICK_MS
        assert stats.stage_medians(4)["network"] >= 2 * delay_ms
        model = RemoteModel(f"ray://127.0.0.1:{served.port}", "painter")  # without the link
        again = model.render(loop.app.picture.request).picture
        model.close()
        assert np.array_equal(again, loop.app.picture.picture)
        assert loop.app.picture.request.steps == 4 and stats.errors == 0
    finally:
        loop.app.close()


def test_a_link_that_breaks_and_comes_back(link):
    loop = far_away(link)
    try:
        before = loop.app.picture.picture.copy()
        link.cut()
        loop.stroke((60, 60), (120, 90))
        loop.until(lambda: any("the last picture stays" in line for line in loop.messages), timeout_s=30.0)
        for number in range(5):  # painting continues
            loop.stroke((40 + 20 * number, 200), (60 + 20 * number, 220))
            loop.tick(3)
        assert np.array_equal(loop.app.picture.picture, before)
        ticks = np.array(loop.app.stats.tick_ms)
        assert np.percentile(ticks, 99) < MOST_TICK_MS
        link.mend()
        newest = loop.app.canvas.snapshot()
        loop.until(lambda: np.array_equal(loop.app.picture.request.paper, newest), timeout_s=40.0)
        loop.rest()
        assert not np.array_equal(loop.app.picture.picture, before)
    finally:
        loop.app.close()


def test_a_server_that_is_killed_and_started_again(link, served):
    loop = far_away(link)
    try:
        served.stop()
        served.until_gone()
        loop.stroke((60, 60), (120, 90))
        loop.until(lambda: any("the last picture stays" in line for line in loop.messages), timeout_s=30.0)
        served.start()
        newest = loop.app.canvas.snapshot()
        loop.until(lambda: np.array_equal(loop.app.picture.request.paper, newest), timeout_s=60.0)
        loop.rest()
    finally:
        loop.app.close()


def test_a_stroke_sends_a_fraction_of_a_frame(link):
    model = RemoteModel(f"ray://127.0.0.1:{link.port}", "painter")
    paper = np.zeros((512, 512, 4), np.uint8)
    paper[:250] = (118, 169, 222, 255)
    paper[250:] = (112, 146, 62, 255)
    request = Request(paper)
    frames = [model.render(request)]
    try:
        for number in range(1, 6):
            paper = paper.copy()
            paper[300 : 300 + 8 * number, 200:240] = (38, 72, 44, 255)
            up, down = link.bytes_up, link.bytes_down
            frames.append(model.render(Request(paper)))
            used = link.bytes_up - up + link.bytes_down - down
            assert used <= 0.05 * 512 * 512 * 3, used
        assert not np.array_equal(frames[0].picture, frames[-1].picture)
    finally:
        model.close()


def test_jpeg_and_webp_are_smaller_and_near(link):
    request = Request(np.full((256, 256, 4), 200, np.uint8))
    made, sizes = {}, {}
    for codec in ("lossless", "jpeg", "webp"):
        model = RemoteModel(f"ray://127.0.0.1:{link.port}", "painter", codec=codec)
        down = link.bytes_down
        made[codec] = model.render(request).picture.astype(int)
        sizes[codec] = link.bytes_down - down
        model.close()
    for codec in ("jpeg", "webp"):
        assert sizes[codec] < sizes["lossless"] / 2
        assert 0 < np.abs(made[codec] - made["lossless"]).mean() < 6


def test_what_does_not_connect_is_one_line(served, monkeypatch):
    with pytest.raises(ModelError, match="no model named sd-turbo is served there"):
        RemoteModel(f"ray://127.0.0.1:{served.port}", "sd-turbo")
    with pytest.raises(ModelError, match=r"no Ray cluster answers at ray://127\.0\.0\.1:9"):
        RemoteModel("ray://127.0.0.1:9", "painter")
    with pytest.raises(ModelError, match="is no address"):
        remote.loader("ray://host:port", "painter")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    with pytest.raises(ModelError, match="the token is missing or wrong"):
        RemoteModel(f"ray://127.0.0.1:{served.port}", "painter")


def test_serve_listens_on_the_loopback_alone(served):
    import psutil

    listening = {
        connection.laddr for connection in psutil.net_connections("tcp") if connection.status == "LISTEN"
    }
    mine = [one.ip for one in listening if one.port == served.port]
    assert mine and all(ip in ("127.0.0.1", "::ffff:127.0.0.1", "::1") for ip in mine)
    ray = [process.pid for process in psutil.Process().children(recursive=True)]
    outside = [
        connection.laddr
        for connection in psutil.net_connections("tcp")
        if connection.pid in ray
        and connection.status == "LISTEN"
        and connection.laddr.ip not in ("127.0.0.1", "::ffff:127.0.0.1", "::1")
    ]
    assert outside == []


def test_the_laptop_imports_neither_torch_nor_diffusers(served):
    program = (
        "import sys, main; sys.argv = ['flowbrush', '--headless', '--seconds', '60', '--demo', '--json',"
        f" '--remote', '127.0.0.1:{served.port}']\n"
        "import renderer.app as app\n"
        "step = app.App.step\n"
        "def once(self): step(self); self.running &= self.picture is None\n"
        "app.App.step = once\n"
        "try: main.main()\n"
        "finally: print(sorted({'torch', 'diffusers', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    fields, found = done.stdout.strip().splitlines()[-2:]
    assert found == "[]" and '"model_fps"' in fields, done


def test_serve_refuses_what_is_not_safe_or_not_there(program, monkeypatch):
    def line(*words) -> str:
        done = program("serve", *words)
        assert done.returncode == 1 and done.stderr.startswith("flowbrush: error: "), done
        return done.stderr

    assert "no model is named 'nothing'" in line("--model", "nothing")
    assert "--bind takes an address" in line("--bind", "somewhere")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "RAY_AUTH_MODE must be token" in line()


def test_serve_makes_a_token_that_only_its_owner_reads(tmp_path, monkeypatch):
    from models.cluster import ray_session, serving

    path = tmp_path / ".ray" / "auth_token"
    for module in (ray_session, serving):
        monkeypatch.setattr(module, "token_file", lambda: path)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    serving.ensure_token()
    made = path.read_text()
    assert len(made) == 64 and path.stat().st_mode & 0o077 == 0
    serving.ensure_token()
    assert path.read_text() == made and made != TOKEN
