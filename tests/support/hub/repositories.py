"""Model repositories in memory: commits of files, branches, and large files by their checksum."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any


class HubRefusalError(Exception):
    """A request that the Hub refuses, with the status and error code of its response."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Blob:
    """A file; large ones are identified by their SHA-256, others by git's hash."""

    content: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def git_hash(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.git_hash


Tree = dict[str, Blob]


@dataclass
class Repository:
    """A repository with the trees of all its commits."""

    name: str
    private: bool = False
    commits: dict[str, Tree] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    pull_requests: int = 0

    def __post_init__(self) -> None:
        self.add({".gitattributes": Blob(b"*.safetensors filter=lfs\n", False)}, "initial commit", "main")

    def add(self, tree: Tree, message: str, ref: str) -> str:
        names = json.dumps([message, len(self.commits), *sorted((name, blob.sha256) for name, blob in tree.items())])
        commit = hashlib.sha1(names.encode()).hexdigest()
        self.commits[commit], self.refs[ref] = tree, commit
        self.messages.append(message)
        return commit

    def resolve(self, revision: str) -> str:
        commit = self.refs.get(revision, revision)
        if commit not in self.commits:
            raise HubRefusalError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def tree(self, revision: str = "main") -> Tree:
        return self.commits[self.resolve(revision)]

    def names(self, revision: str = "main") -> set[str]:
        """Return all files except the one with which every repository begins."""
        return self.tree(revision).keys() - {".gitattributes"}

    def write(self, name: str, content: bytes) -> None:
        """Commit a file as another user would."""
        self.add(self.tree() | {name: Blob(content, False)}, f"write {name}", "main")

    def commit(self, revision: str, lines: list[dict[str, Any]], stored: dict[str, bytes], as_pr: bool) -> str:
        """Execute the lines of a commit request."""
        parent = self.resolve(revision)
        head = next(line["value"] for line in lines if line["key"] == "header")
        if head.get("parentCommit") not in (None, parent):
            raise HubRefusalError(412, "", "The branch has moved on since.")
        tree = dict(self.commits[parent])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                tree[value["path"]] = Blob(stored[value["oid"]], True)
            elif line["key"] == "deletedFile":
                del tree[value["path"]]
        ref = revision
        if as_pr:
            self.pull_requests += 1
            ref = f"refs/pr/{self.pull_requests}"
        return self.add(tree, head["summary"], ref)
