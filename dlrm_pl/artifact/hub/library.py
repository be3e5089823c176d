"""A model repository on the Hugging Face Hub, with clear messages for the library's errors.

The library's own settings apply: the Hub's address (``HF_ENDPOINT``), the token (``hf auth login`` or ``HF_TOKEN``),
the cache (``HF_HOME``) and whether the network may be used (``HF_HUB_OFFLINE``).
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrm_pl.documents.fields import printable, shown
from dlrm_pl.errors import ConfigurationError, HubError
from dlrm_pl.extras import missing_extra
from dlrm_pl.program import is_quiet
from dlrm_pl.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_LONGEST_ANSWER = 300


@dataclass(frozen=True)
class HubState:
    """State of a repository before a push.

    Attributes:
        commit: hash of the commit that the branch points to.
        private: whether only its owners can see it.
        names: paths of all files.
    """

    commit: str
    private: bool
    names: tuple[str, ...]


class HubRepository:
    """A model repository on the Hugging Face Hub.

    Args:
        repo_id: its name, ``user/name``.

    Raises:
        ConfigurationError: the name is not valid, or huggingface_hub is not installed.
    """

    def __init__(self, repo_id: str) -> None:
        try:
            from huggingface_hub import HfApi
            from huggingface_hub.errors import HFValidationError
            from huggingface_hub.utils import disable_progress_bars, validate_repo_id  # type: ignore[attr-defined]
        except ImportError as error:
            raise missing_extra("the Hugging Face Hub needs huggingface_hub", "hub", error) from None
        try:
            validate_repo_id(repo_id)
            if "/" not in repo_id:
                raise HFValidationError("it has no user or organization")
        except HFValidationError as error:
            raise ConfigurationError(
                f"repo_id={shown(repo_id)} is not a repository name ({_line(error)}). Give it as USER/NAME or "
                "ORGANIZATION/NAME."
            ) from None
        if is_quiet():
            disable_progress_bars()
        self.repo_id = repo_id
        self._api: HfApi = HfApi(library_name="dlrm_pl", library_version=__version__)

    def create(self, private: bool | None, branch: str | None) -> None:
        """Create the repository and the branch, unless they exist.

        Args:
            private: whether only its owners can see a new repository; None: their organization's default.
            branch: name of a branch other than ``main``; None: ``main``.

        Raises:
            HubError: the Hub refuses it or cannot be reached.
        """
        with self._errors():
            self._api.create_repo(self.repo_id, private=private, exist_ok=True)
            if branch is not None:
                self._api.create_branch(self.repo_id, branch=branch, exist_ok=True)

    def state(self, revision: str | None) -> HubState:
        """Return the contents of a branch.

        Raises:
            HubError: there is no such branch, or the Hub cannot be reached.
        """
        with self._errors(revision):
            info = self._api.model_info(self.repo_id, revision=revision)
            assert info.sha is not None
            names = self._api.list_repo_files(self.repo_id, revision=info.sha)
        return HubState(info.sha, bool(info.private), tuple(names))

    def download(
        self,
        names: Sequence[str],
        revision: str | None,
        *,
        cache_dir: Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> Path:
        """Download files that are not in the cache.

        Args:
            names: names of the files; those that the repository does not have are left out.
            revision: branch, tag or commit; None: the branch ``main``.
            cache_dir: folder of the cache; None: the library's.
            local_files_only: use only the cache.
            force_download: download files that are in the cache as well.

        Returns:
            The folder with the files, named by the hash of the commit.

        Raises:
            HubError: there is no such repository or revision, it is not in the cache, or the Hub cannot be reached.
        """
        with self._errors(revision):
            return Path(
                self._api.snapshot_download(
                    self.repo_id,
                    revision=revision,
                    cache_dir=cache_dir,
                    local_files_only=local_files_only,
                    force_download=force_download,
                    allow_patterns=[glob.escape(name) for name in names],
                )
            )

    def commit(
        self,
        files: Mapping[str, Path | bytes],
        deleted: Sequence[str],
        message: str,
        *,
        parent: str,
        branch: str | None,
        create_pr: bool,
    ) -> str:
        """Upload and delete files in one commit; return its URL, or that of the pull request.

        Raises:
            HubError: the Hub refuses it, for example because the branch is no longer at ``parent``, or cannot be
                reached.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[Any] = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else content.absolute())
            for name, content in files.items()
        ]
        operations += [CommitOperationDelete(name) for name in deleted]
        with self._errors(branch):
            info = self._api.create_commit(
                self.repo_id,
                operations,
                commit_message=message,
                revision=branch,
                parent_commit=parent,
                create_pr=create_pr,
            )
        return info.pr_url or info.commit_url

    @contextmanager
    def _errors(self, revision: str | None = None) -> Iterator[None]:
        """Turn the library's errors into ours.

        Raises:
            HubError: the message says what the Hub answered, and what to do.
        """
        from huggingface_hub import errors

        # The HTTP library depends on the version of huggingface_hub, and its own errors are passed on unchanged.
        network: type[Exception] = next(
            base
            for base in errors.HfHubHTTPError.__mro__
            if issubclass(base, Exception) and base.__name__ == "HTTPError"
        )
        where = f"{self.repo_id} on {self._api.endpoint}"
        try:
            yield
        except errors.GatedRepoError as error:
            raise HubError(
                f"{where}: the repository is gated: ask for access on its page ({_answer(error)})."
            ) from error
        except errors.RevisionNotFoundError as error:
            raise HubError(
                f"{where}: has no revision {shown(revision)}. Give a branch, a tag or a commit hash."
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise HubError(
                f"{where}: there is no such repository, or your token has no access to it. Check the name; if it is "
                "private, log in with `hf auth login` or set HF_TOKEN."
            ) from error
        except errors.LocalEntryNotFoundError as error:
            raise HubError(
                f"{where}: revision {revision or 'main'} is not complete in the cache, and the Hub "
                f"{_not_reached(error)}. Download it once with a network connection."
            ) from error
        except errors.OfflineModeIsEnabled as error:
            raise HubError(f"{where}: HF_HUB_OFFLINE disables network access. Unset it to upload.") from error
        except errors.HfHubHTTPError as error:
            raise HubError(f"{where}: {_refusal(error)}") from error
        except (errors.LocalTokenNotFoundError, ValueError, RuntimeError) as error:
            if error.__cause__ is not None and isinstance(error.__cause__, errors.HfHubHTTPError | network):
                raise HubError(f"{where}: {_line(error)} {_line(error.__cause__)}") from error
            raise HubError(f"{where}: {_line(error)}") from error
        except network as error:
            raise HubError(
                f"{where}: cannot be reached ({type(error).__name__}: {_line(error)}). Check the connection, or "
                "HF_ENDPOINT if that is not the Hub that you want."
            ) from error


def _refusal(error: Any) -> str:
    """Say why the Hub refused a request, and what to do."""
    status = error.response.status_code
    advice = {
        401: "Log in with `hf auth login`, or set HF_TOKEN.",
        403: "Use a token with write access to this repository.",
        409: "Somebody else changed it at the same time; try again.",
        412: "Somebody else changed it at the same time; try again.",
        429: "Wait, and try again.",
    }.get(status, "Try again later." if status >= 500 else "")
    return f"the Hub answered with status {status} ({_answer(error)}). {advice}".rstrip()


def _answer(error: Any) -> str:
    return _line(error.server_message or error)


def _line(error: object) -> str:
    """Return a message of the Hub or of its library on one line of bounded length."""
    text = printable(" ".join(str(error).split()))
    return text if len(text) <= _LONGEST_ANSWER else f"{text[:_LONGEST_ANSWER]}..."


def _not_reached(error: BaseException) -> str:
    cause = error.__cause__
    return "may not be contacted" if cause is None else f"cannot be reached ({type(cause).__name__}: {_line(cause)})"
