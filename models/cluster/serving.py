"""The command `serve`: a model in a Ray actor, on this machine or on a running cluster."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.api import Img2Img, ModelError
from models.cluster.painting_server import PaintingServer
from models.cluster.ray_session import (
    LOOPBACK_ONLY,
    connected,
    import_ray,
    token,
    token_file,
)
from models.cluster.remote import actor_name

STORE_BYTES = 200 << 20  # Ray's shared memory, which only holds picture patches
START_S = 60.0


@dataclass(frozen=True)
class Where:
    """Addresses of a server.

    bind: address to listen on. port: port for painters. cluster: HOST:PORT of a running cluster. Raises
    ModelError if `bind` is not an address.
    """

    bind: str
    port: int
    cluster: str | None = None

    def __post_init__(self) -> None:
        assert self.loopback is not None  # invalid addresses are rejected before anything starts

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.bind).is_loopback
        except ValueError as error:
            raise ModelError(f"--bind takes an address such as 127.0.0.1, not {self.bind!r}") from error


def serve(
    model: str, load: Callable[[], Img2Img], *, where: Where, device: str | None = None, painters: int = 4
) -> None:
    """Serve until SIGINT or SIGTERM. Raises ModelError if Ray does not start or the model does not load."""
    ensure_token()
    cluster = existing(where.cluster) if where.cluster else head(where)
    with cluster as address, connected(address) as ray, ended_by_signals():
        actor = start(ray, model, load, device=device, painters=painters)
        while not (about := ray.get(actor.describe.remote(5.0)))["card"]:
            if about["error"]:
                raise ModelError(about["error"])
        card = about["card"]
        say(f"{model} is ready: {card['device']} {card['dtype']}. {card['path']}")
        tell_how(model, where)
        while True:
            time.sleep(3600)


def start(ray: Any, model: str, load: Callable, *, device: str | None, painters: int) -> Any:
    """Start the actor that holds the model. Each painter may have two concurrent calls in it."""
    gpus = int((device or ("cuda" if ray.cluster_resources().get("GPU") else "cpu")).split(":")[0] == "cuda")
    options = {"name": actor_name(model), "num_cpus": 0, "num_gpus": gpus, "max_restarts": -1}
    kind = ray.remote(max_concurrency=2 * painters + 4, **options)(PaintingServer)
    try:
        return kind.remote(load, painters)
    except ValueError as error:
        raise ModelError(f"{model} is served on that cluster already") from error


def ensure_token() -> None:
    """Enable token authentication. A missing token is created in Ray's file, readable by its owner only."""
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        raise ModelError("RAY_AUTH_MODE must be token to serve: without it anyone who connects can run code")
    os.environ["RAY_AUTH_MODE"] = "token"
    if not token():
        path = token_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(secrets.token_hex(32))
        say(f"a token was made in {path}")


@contextlib.contextmanager
def existing(address: str) -> Iterator[str]:
    yield address


@contextlib.contextmanager
def head(where: Where) -> Iterator[str]:
    """Start a Ray cluster on this machine only, stopped when the block ends; yields its address."""
    folder = Path(tempfile.mkdtemp(prefix="fb-"))  # short: socket paths are limited in length
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_AUTOSCALER": "0"}
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))  # finds this program if not installed
    if where.loopback:
        environment |= LOOPBACK_ONLY
        os.environ.update(LOOPBACK_ONLY)
    import_ray("")
    check_free(where)
    port = free_port()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += [f"--node-ip-address={where.bind}", f"--port={port}", f"--ray-client-server-port={where.port}"]
    command += ["--include-dashboard=false", "--disable-usage-stats", f"--object-store-memory={STORE_BYTES}"]
    command += [f"--temp-dir={folder}"]
    log = folder / "start.log"
    with open(log, "wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        wait_for(process, where.bind, port, log)
        wait_for(process, where.bind, where.port, log)
        yield f"{where.bind}:{port}"
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(process: subprocess.Popen, host: str, port: int, log: Path) -> None:
    """Wait until something listens. Raises ModelError with the log's last line if Ray does not start."""
    end_s = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection((host, port), 1.0).close()
            return
        if process.poll() is not None or time.monotonic() > end_s:
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            raise ModelError(f"Ray does not start: {lines[-1] if lines else 'it says nothing'}")
        time.sleep(0.1)


def check_free(where: Where) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((where.bind, where.port))
        except OSError as error:
            raise ModelError(f"{where.bind}:{where.port} cannot be listened on: {error.strerror}") from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Context in which SIGTERM ends the block like Ctrl+C, without an error."""

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def tell_how(model: str, where: Where) -> None:
    if where.cluster:
        say(f"paint with it: python main.py --remote HEAD:{where.port} --model {model}")
    elif where.loopback:
        say(f"paint here: python main.py --remote {where.bind}:{where.port} --model {model}")
        say(f"from another machine, through SSH: ssh -N -L {where.port}:127.0.0.1:{where.port} THIS_MACHINE")
    else:
        say(f"paint with it: python main.py --remote {where.bind}:{where.port} --model {model}")
        say("the token travels in clear, and who reads it can run any code here; prefer an SSH tunnel")


def say(line: str) -> None:
    print(f"flowbrush: {line}", file=sys.stderr, flush=True)
