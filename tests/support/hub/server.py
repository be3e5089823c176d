"""The part of the Hugging Face Hub's HTTP interface that huggingface_hub uses to upload and download a model."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.support.hub.repositories import Blob, HubRefusalError, Repository

TOKEN = "hf_test"


class Hub(ThreadingHTTPServer):
    """A Hub whose only user is ``me``.

    Attributes:
        repositories: repositories by name.
        stored: uploaded large files, by their SHA-256.
        requests: method and path of each request, in order.
        before_commit: called when a commit arrives, before it is executed.
        alter: changes the contents that a download of a file sends.
        failures: statuses for the next requests to a path, by a pattern of ``METHOD /path``.
        part_bytes: size of the parts in which large files are uploaded; None: whole.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        self.requests: list[str] = []
        self.before_commit: Callable[[Repository], None] = lambda repository: None
        self.alter: Callable[[str, bytes], bytes] = lambda name, content: content
        self.failures: dict[str, list[int]] = {}
        self.part_bytes: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def cdn_url(self) -> str:
        """Another host, as for large files, so that the Hub's own statements about them are read from the redirect."""
        return f"http://localhost:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that ends a download early is not an error."""

    def uploaded(self) -> bool:
        """Tell whether anything was permanently uploaded."""
        return any(re.match(r"(PUT|POST .*/(commit|branch)/|POST /api/repos)", request) for request in self.requests)


@contextmanager
def hub_running() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *values: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 (names of http.server)

    def _answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            self.body = b"".join(iter(self._chunk, b""))
        address = urlsplit(self.path)
        self.query = parse_qs(address.query)
        path = unquote(address.path)
        request = f"{self.command} {path}"
        self.server.requests.append(request)
        for pattern, statuses in self.server.failures.items():
            if statuses and re.fullmatch(pattern, request):
                self._send(statuses.pop(0), b'{"error": "out of order"}')
                return
        for pattern, answer in _ROUTES:
            if match := re.fullmatch(pattern, request):
                try:
                    answer(self, *match.groups())
                except HubRefusalError as refusal:
                    headers = {"X-Error-Code": refusal.code, "X-Error-Message": str(refusal)}
                    self._send(refusal.status, json.dumps({"error": str(refusal)}).encode(), headers)
                return
        self._send(404, b'{"error": "not found"}')

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        content = self.rfile.read(size)
        self.rfile.readline()
        return content

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        always = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for name, value in (always | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode())

    @property
    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _require_token(self) -> None:
        if not self._known:
            raise HubRefusalError(401, "", "Invalid username or password.")

    def _repository(self, name: str) -> Repository:
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and not self._known):
            raise HubRefusalError(404 if self._known else 401, "RepoNotFound", "Repository not found")
        return repository

    def create(self) -> None:
        self._require_token()
        values = json.loads(self.body)
        name = f"{values['organization'] or 'me'}/{values['name']}"
        if not name.startswith("me/"):
            raise HubRefusalError(403, "", f"You may not create a model in {name.partition('/')[0]}")
        if name in self.server.repositories:
            self._send(409, json.dumps({"error": "exists", "url": f"{self.server.url}/{name}"}).encode())
            return
        self.server.repositories[name] = Repository(name, values.get("visibility") == "private")
        self._json({"url": f"{self.server.url}/{name}"})

    def validate(self) -> None:
        try:
            header = yaml.safe_load(json.loads(self.body)["content"].split("---\n", 2)[1])
            wrong = [] if isinstance(header, dict) else [{"message": "the header is no mapping"}]
        except (yaml.YAMLError, IndexError) as error:
            wrong = [{"message": str(error)}]
        self._send(400 if wrong else 200, json.dumps({"errors": wrong, "warnings": []}).encode())

    def info(self, name: str, revision: str | None = None) -> None:
        repository = self._repository(name)
        commit = repository.resolve(revision or "main")
        names = [{"rfilename": name} for name in repository.commits[commit]]
        self._json({"id": name, "sha": commit, "private": repository.private, "siblings": names, "tags": []})

    def tree(self, name: str, revision: str) -> None:
        self._json([_entry(path, blob) for path, blob in self._repository(name).tree(revision).items()])

    def preupload(self, name: str, revision: str) -> None:
        self._require_token()
        tree = self._repository(name).tree(revision)
        self._json({"files": [_mode(file, tree.get(file["path"])) for file in json.loads(self.body)["files"]]})

    def branch(self, name: str, branch: str) -> None:
        self._require_token()
        repository = self._repository(name)
        if branch in repository.refs:
            raise HubRefusalError(409, "", "Reference already exists")
        repository.refs[branch] = repository.refs["main"]
        self._json({})

    def batch(self, name: str) -> None:
        self._require_token()
        self._repository(name)
        self._json({"transfer": "basic", "objects": [self._upload_of(one) for one in json.loads(self.body)["objects"]]})

    def _upload_of(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Return where to upload a large file, unless it already exists."""
        oid, size = wanted["oid"], wanted["size"]
        if oid in self.server.stored:
            return {"oid": oid, "size": size}
        upload: dict[str, Any] = {"href": f"{self.server.url}/stored/{oid}"}
        if part := self.server.part_bytes:
            count = -(-size // part)
            parts = {str(number): f"{self.server.url}/stored/{oid}/{number}" for number in range(1, count + 1)}
            upload["header"] = {"chunk_size": str(part), **parts}
        verify = {"href": f"{self.server.url}/verify/{oid}"}
        return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}

    def store(self, oid: str) -> None:
        self.server.stored[oid] = self.body
        self._send(200, b"")

    def store_part(self, oid: str, number: str) -> None:
        self.server.parts[oid, int(number)] = self.body
        self._send(200, b"", {"ETag": f'"{number}"'})

    def complete(self, oid: str) -> None:
        numbers = [part["partNumber"] for part in json.loads(self.body)["parts"]]
        self.server.stored[oid] = b"".join(self.server.parts[oid, number] for number in numbers)
        self._json({})

    def verify(self, oid: str) -> None:
        self._require_token()
        content = self.server.stored.get(oid, b"")
        if Blob(content, True).sha256 != oid or json.loads(self.body) != {"oid": oid, "size": len(content)}:
            raise HubRefusalError(400, "", "the file is not what its checksum says")
        self._json({})

    def commit(self, name: str, revision: str) -> None:
        self._require_token()
        repository = self._repository(name)
        self.server.before_commit(repository)
        as_pr = self.query.get("create_pr") == ["1"]
        lines = [json.loads(line) for line in self.body.splitlines()]
        commit = repository.commit(revision, lines, self.server.stored, as_pr)
        page = f"{self.server.url}/{name}"
        self._json(
            {
                "success": True,
                "commitOid": commit,
                "commitUrl": f"{page}/commit/{commit}",
                "pullRequestUrl": f"{page}/discussions/{repository.pull_requests}" if as_pr else None,
            }
        )

    def resolve(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name)
        commit = repository.resolve(revision)
        blob = repository.commits[commit].get(path)
        if blob is None:
            raise HubRefusalError(404, "EntryNotFound", f"{path} not found")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{blob.etag}"'}
        if not blob.large:
            self._content(path, blob, headers)
            return
        linked = {"X-Linked-ETag": f'"{blob.etag}"', "X-Linked-Size": str(len(blob.content))}
        linked["Location"] = f"{self.server.cdn_url}/cdn/{blob.etag}"
        self.server.stored[blob.etag] = blob.content
        self._send(302, b"", headers | linked)

    def cdn(self, oid: str) -> None:
        self._content(oid, Blob(self.server.stored[oid], True), {"ETag": f'"{oid}"'})

    def _content(self, name: str, blob: Blob, headers: dict[str, str]) -> None:
        content = self.server.alter(name, blob.content)
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match is None:
            self._send(200, content, headers)
            return
        start = int(match[1])
        place = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self._send(206, content[start:], headers | place)


_NAME = r"([\w.-]+/[\w.-]+)"
_ROUTES: list[tuple[str, Callable[..., None]]] = [
    ("POST /api/repos/create", _Handler.create),
    ("POST /api/validate-yaml", _Handler.validate),
    (f"GET /api/models/{_NAME}", _Handler.info),
    (f"GET /api/models/{_NAME}/revision/(.+)", _Handler.info),
    (f"GET /api/models/{_NAME}/tree/(.+)", _Handler.tree),
    (f"POST /api/models/{_NAME}/preupload/(.+)", _Handler.preupload),
    (f"POST /api/models/{_NAME}/branch/(.+)", _Handler.branch),
    (f"POST /{_NAME}.git/info/lfs/objects/batch", _Handler.batch),
    (r"PUT /stored/(\w+)", _Handler.store),
    (r"PUT /stored/(\w+)/(\d+)", _Handler.store_part),
    (r"POST /stored/(\w+)", _Handler.complete),
    (r"POST /verify/(\w+)", _Handler.verify),
    (f"POST /api/models/{_NAME}/commit/(.+)", _Handler.commit),
    (rf"(?:GET|HEAD) /{_NAME}/resolve/([^/]+|refs/pr/\d+)/(.+)", _Handler.resolve),
    (r"(?:GET|HEAD) /cdn/(\w+)", _Handler.cdn),
]


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    size = len(blob.content)
    lfs = {"lfs": {"oid": blob.sha256, "size": size, "pointerSize": 134}} if blob.large else {}
    return {"type": "file", "path": path, "size": size, "oid": blob.git_hash, **lfs}


def _mode(file: dict[str, Any], present: Blob | None) -> dict[str, Any]:
    large = file["path"].endswith(".safetensors") or file["size"] >= 1 << 20
    oid = present.etag if present is not None and present.large == large else None
    return {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}
