"""A local stand-in for the Hugging Face Hub: the download protocol and its failures, on the loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" + "0" * 34


class SmallHub:
    """Hub server with one main repository, `repo`, that can fail on demand.

    files: path -> bytes of the repository. status: HTTP status of the answers; 200 serves the files.
    refuses: substring of the paths that get a status other than 200. cut_after: number of bytes of the next
    large file after which the connection breaks, once. asked: (method, path, range) of every request.
    """

    def __init__(self, repo: str, files: dict[str, bytes]):
        self.repo, self.files = repo, files
        self.others: dict[str, dict[str, bytes]] = {}  # further repositories
        self.status, self.gated, self.refuses, self.cut_after = 200, False, "", None
        self.asked: list[tuple[str, str, str | None]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                hub.answer(self, body=False)

            def do_GET(self):
                hub.answer(self, body=True)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = handler.path.split("?")[0]
        self.asked.append((handler.command, path, handler.headers.get("Range")))
        if self.status != 200 and self.refuses in path:
            code = "GatedRepo" if self.gated else "RepoNotFound" if self.status in (401, 404) else ""
            self.send(handler, self.status, b"{}", {"X-Error-Code": code}, body)
        elif (found := self.find(path)) is not None:
            repo, files = found
            if path.startswith("/api/") and "/tree/" in path:
                self.send(handler, 200, json.dumps(tree(files)).encode(), {}, body)
            elif path.startswith("/api/"):
                self.send(handler, 200, json.dumps(about(repo, files)).encode(), {}, body)
            else:
                name = path.split("/resolve/")[1].split("/", 1)[1]
                self.file(handler, files.get(name), body)
        else:
            self.send(handler, 404, b"{}", {"X-Error-Code": "EntryNotFound"}, body)

    def find(self, path: str) -> tuple[str, dict[str, bytes]] | None:
        """Return the repository that a URL path names, and its files."""
        repos = {self.repo: self.files, **self.others}
        return next(((r, f) for r, f in repos.items() if f"/{r}/" in f"{path}/"), None)

    def file(self, handler: BaseHTTPRequestHandler, data: bytes | None, body: bool) -> None:
        if data is None:
            self.send(handler, 404, b"", {"X-Error-Code": "EntryNotFound"}, body)
            return
        etag = hashlib.sha256(data).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        first, wanted = 0, handler.headers.get("Range")
        if wanted and body:
            first = int(wanted.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        cut = self.cut_after if body and len(data) > 10_000 else None
        if cut is not None:
            self.cut_after = None
        self.send(handler, 206 if wanted and body else 200, data[first:], headers, body, cut)

    def send(self, handler, status, data, headers, body, cut=None) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        if body:
            handler.wfile.write(data if cut is None else data[:cut])
        if cut is not None:
            handler.wfile.flush()
            handler.close_connection = True
            handler.connection.close()


def about(repo: str, files: dict[str, bytes]) -> dict:
    siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
    return {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings}


def tree(files: dict[str, bytes]) -> list[dict]:
    return [
        {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        for name, data in files.items()
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    """Read a folder as a repository: path -> bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
