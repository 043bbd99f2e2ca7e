"""A Hugging Face hub on 127.0.0.1: as much of its HTTP interface as huggingface_hub uses for a download.

Model information with file metadata, the tree of a commit, and ``resolve`` with the hub's headers: small files
directly, large ones by a redirect to a content store under another host name, which knows ranges. Files can be made to
break off, to change on the way or to claim another size, and every request is kept.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass(eq=False)
class Repo:
    """One repository: its files' content, which stays as it is, and what its card says."""

    files: dict[str, bytes]
    licence: str | None = "mit"
    claimed_sizes: dict[str, int] = field(default_factory=dict)
    """Sizes that the hub tells instead of the true ones."""

    @classmethod
    def of(cls, folder: Path, **settings: Any) -> Repo:
        """The files below `folder`, and a readme and a foreign format that nobody needs."""
        files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        files |= {"README.md": b"# A model\n", "transformer/model.bin": b"another format", "demo.wav": b"RIFF"}
        return cls(files, **settings)

    @cached_property
    def commit(self) -> str:
        digest = hashlib.sha1(usedforsecurity=False)
        for path in sorted(self.files):
            digest.update(path.encode() + self.files[path])
        return digest.hexdigest()

    @lru_cache  # noqa: B019 - a handful of repositories per test run, hashed once instead of at every request
    def sha256(self, path: str) -> str | None:
        """For files that the hub keeps outside git."""
        return hashlib.sha256(self.files[path]).hexdigest() if path.endswith((".safetensors", ".bin")) else None

    @lru_cache  # noqa: B019
    def blob_id(self, path: str) -> str:
        content = self.files[path]
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()

    def size(self, path: str) -> int:
        return self.claimed_sizes.get(path, len(self.files[path]))


@dataclass(frozen=True)
class Request:
    """What was asked; `first` is where its range began."""

    method: str
    path: str
    first: int | None


class Hub:
    """The server; use it in ``with``. Change `repos` and the faults at will while it runs."""

    def __init__(self, repos: dict[str, Repo]) -> None:
        self.repos = repos
        self.requests: list[Request] = []
        self.refuse: tuple[int, str] | None = None
        """An HTTP status and the hub's error code, for every request about a repository."""
        self.break_off: dict[str, int] = {}
        """Large files (by path) whose next transfer ends after so many bytes; the entry is then used up."""
        self.down: set[str] = set()
        """Large files whose store answers with 503."""
        self.swapped: dict[str, bytes] = {}
        """Large files that come with this content instead."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def transfers(self, path: str | None = None) -> list[Request]:
        """The requests for content (of large file `path`)."""
        got = [request for request in self.requests if request.method == "GET" and request.path.startswith("/store/")]
        return [request for request in got if path is None or request.path.endswith(f"/{path}")]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            asked = self.headers.get("Range")
            first = int(asked.removeprefix("bytes=").split("-")[0]) if asked else None
            hub.requests.append(Request(self.command, path, first))
            parts = path.strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                self._about("/".join(parts[2:4]), parts[4:])
            elif parts[0] == "store":
                self._content("/".join(parts[1:3]), "/".join(parts[3:]), first or 0)
            elif len(parts) > 4 and parts[2] == "resolve":
                self._resolve("/".join(parts[:2]), "/".join(parts[4:]))
            else:
                self._send(404, b"")

        def _about(self, repo_id: str, rest: list[str]) -> None:
            repo = hub.repos.get(repo_id)
            if hub.refuse is not None:
                self._send(hub.refuse[0], b"", {"X-Error-Code": hub.refuse[1]})
            elif repo is None:
                self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            elif rest[:1] == ["tree"]:
                self._json([_tree_entry(repo, path) for path in repo.files])
            else:
                self._json(_information(repo_id, repo))

        def _resolve(self, repo_id: str, path: str) -> None:
            repo = hub.repos[repo_id]
            headers = {"X-Repo-Commit": repo.commit}
            if path not in repo.files:
                self._send(404, b"", {**headers, "X-Error-Code": "EntryNotFound"})
            elif (checksum := repo.sha256(path)) is None:
                self._send(200, repo.files[path], {**headers, "ETag": f'"{repo.blob_id(path)}"'})
            else:
                linked = {"X-Linked-Size": str(repo.size(path)), "X-Linked-ETag": f'"{checksum}"'}
                store = f"{hub.endpoint.replace('127.0.0.1', 'localhost')}/store/{repo_id}/{path}"
                self._send(302, b"", {**headers, **linked, "Location": store})

        def _content(self, repo_id: str, path: str, first: int) -> None:
            content = hub.swapped.get(path, hub.repos[repo_id].files[path])
            if path in hub.down:
                self._send(503, b"")
                return
            headers = {"Accept-Ranges": "bytes"}
            if first:
                headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self._send(206 if first else 200, content[first:], headers, stop_after=hub.break_off.pop(path, None))

        def _json(self, value: object) -> None:
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _send(
            self, status: int, body: bytes, headers: dict[str, str] | None = None, stop_after: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(body[:stop_after])
            if stop_after is not None:
                self.close_connection = True

    return Handler


def _information(repo_id: str, repo: Repo) -> dict[str, Any]:
    siblings = []
    for path in repo.files:
        entry: dict[str, Any] = {"rfilename": path, "size": repo.size(path), "blobId": repo.blob_id(path)}
        if (checksum := repo.sha256(path)) is not None:
            entry["lfs"] = {"sha256": checksum, "size": repo.size(path), "pointerSize": 134}
        siblings.append(entry)
    card = {"license": repo.licence} if repo.licence else {}
    return {"id": repo_id, "modelId": repo_id, "sha": repo.commit, "siblings": siblings, "cardData": card, "tags": []}


def _tree_entry(repo: Repo, path: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": repo.size(path), "oid": repo.blob_id(path)}
    if (checksum := repo.sha256(path)) is not None:
        entry["lfs"] = {"oid": checksum, "size": repo.size(path), "pointerSize": 134}
    return entry
