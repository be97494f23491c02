"""Run the `serve` command in a separate process, for tests that paint with a remote model."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

from loop_harness import ROOT
from ray_cluster import TOKEN


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ServedModel:
    """`serve --model painter` on the loopback; can be killed and restarted on the same port."""

    def __init__(self, *words: str):
        self.port = free_port()
        self._words = words
        self.start()

    def start(self) -> None:
        command = [sys.executable, ROOT / "main.py", "serve", "--device", "cpu", "--port", str(self.port)]
        environment = {**os.environ, "RAY_AUTH_TOKEN": TOKEN}
        self._process = subprocess.Popen([*command, *self._words], env=environment, stderr=subprocess.PIPE)
        self.lines = []
        assert self._process.stderr is not None
        while not any("is ready" in line for line in self.lines):
            line = self._process.stderr.readline().decode()
            assert line, self.lines
            self.lines.append(line)

    def stop(self) -> str:
        """Terminate the process as `kill` does; return its output since it was ready."""
        self._process.terminate()
        said = self._process.communicate(timeout=40)[1].decode()
        assert self._process.returncode == 0, said
        return said

    def until_gone(self) -> None:
        end_s = time.perf_counter() + 20
        while time.perf_counter() < end_s:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.05)
        raise AssertionError("the port is still open")
