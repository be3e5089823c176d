"""A model served under a name: its versions, and their replacement by newer ones."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dlrm_pl.artifact.store import Checksums
from dlrm_pl.errors import ArtifactError, DLRMError
from dlrm_pl.kernels.int8.pages import Pages
from dlrm_pl.server.batching.batcher import Batcher, BatchLimits
from dlrm_pl.server.models.loaded import LoadedModel
from dlrm_pl.server.models.sources import FoundVersion, Snapshot, find_versions

log = logging.getLogger(__name__)

_LOOKS_BEFORE_MISSING = 3


@dataclass(frozen=True)
class LoadSettings:
    """Settings for loading artifacts.

    Attributes:
        pages: how tables are kept in memory.
        checksums: which files are compared with their checksums.
        allow_not_accepted: whether to serve artifacts that quantization did not accept.
        versions: number of versions of a model to serve, if its folder has several.
        poll_s: seconds between two checks for a newer version; 0: only on request.
    """

    pages: Pages = "mapped"
    checksums: Checksums = "auto"
    allow_not_accepted: bool = False
    versions: int = 1
    poll_s: float = 1.0


@dataclass(frozen=True)
class ServedVersion:
    """A version that requests can reach.

    Attributes:
        model: the model.
        batcher: queue of the model's requests.
        snapshot: state of the version's files when it was loaded.
    """

    model: LoadedModel
    batcher: Batcher
    snapshot: Snapshot


@dataclass
class SwapOutcome:
    """Result of a check for newer versions.

    Attributes:
        loaded: versions that are served now and were not before.
        removed: versions that were served before.
        refused: messages about versions that are not served.
    """

    loaded: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class ServedModel:
    """Versions of a model that are served under a name.

    Args:
        name: the name.
        folder: folder with the versions.
        settings: how versions are loaded.
        limits: how requests are batched.
        observe: called with the number of requests and of rows of each batch.

    Raises:
        ArtifactError: no version can be served. Older versions are served in place of those that cannot.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        settings: LoadSettings,
        limits: BatchLimits,
        observe: Callable[[int, int], None] = lambda requests, rows: None,
    ) -> None:
        self.name = name
        self.folder = folder
        self._settings = settings
        self._limits = limits
        self._observe = observe
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"score-{name}")
        self._refused: dict[Path, Snapshot] = {}
        self.refused_at_start: list[str] = []
        """Messages about versions in whose place older ones were loaded."""
        self._times_missing = 0
        self.versions = self._by_name(self._load_first())

    @property
    def newest(self) -> ServedVersion:
        """Version that answers requests that do not name one."""
        return next(reversed(self.versions.values()))

    def look(self, *, again: bool = False) -> tuple[dict[str, ServedVersion], SwapOutcome]:
        """Check for newer versions and load them, while the earlier ones keep answering; any thread may call this.

        Args:
            again: also try versions that were refused before.

        Returns:
            The versions to pass to ``swap``, and the result of the check.
        """
        outcome = SwapOutcome()
        try:
            found = find_versions(self.folder, self._settings.versions)
        except ArtifactError as error:
            # A folder is missing for a moment while it is replaced. One that stays missing is reported once.
            self._times_missing += 1
            if again or self._times_missing == _LOOKS_BEFORE_MISSING:
                outcome.refused.append(str(error))
            return self.versions, outcome
        self._times_missing = 0
        served = {version.model.folder: version for version in self.versions.values()}
        tried = [self._kept_or_loaded(version, served, outcome, again=again) for version in found]
        kept = [version for version in tried if version is not None]
        if len(kept) < len(found):  # Fall back to older versions that are still in the folder.
            older_ones: list[FoundVersion] = []
            with contextlib.suppress(ArtifactError):  # The folder may have been moved away in the meantime.
                older_ones = find_versions(self.folder)[: -len(found)]
            for version in reversed(older_ones):
                if len(kept) == len(found):
                    break
                older = self._kept_or_loaded(version, served, outcome, again=again)
                kept[:0] = [] if older is None else [older]
        if not kept:
            return self.versions, outcome
        versions = self._by_name(kept)
        outcome.removed = [name for name in self.versions if name not in versions]
        return versions, outcome

    def swap(self, versions: dict[str, ServedVersion]) -> list[ServedVersion]:
        """Put versions in place; requests that wait for an earlier version are still answered by it.

        Returns:
            The versions that no further request will reach.
        """
        earlier, self.versions = self.versions, versions
        kept = {id(version) for version in versions.values()}
        return [version for version in earlier.values() if id(version) not in kept]

    def close(self) -> None:
        """End the scoring thread."""
        self._executor.shutdown(wait=False)

    def _load_first(self) -> list[ServedVersion]:
        """Load the newest versions that can be served: a failed upload must not keep a server from starting."""
        loaded: list[ServedVersion] = []
        errors: list[DLRMError | OSError] = []
        for version in reversed(find_versions(self.folder)):
            try:
                loaded.insert(0, self._load(version))
            except (DLRMError, OSError) as error:
                errors.append(error)
                self._refused[version.folder] = version.snapshot
            if len(loaded) == self._settings.versions:
                break
        if not loaded:
            raise errors[0]
        self.refused_at_start = [str(error) for error in errors]
        return loaded

    def _kept_or_loaded(
        self, found: FoundVersion, served: Mapping[Path, ServedVersion], outcome: SwapOutcome, *, again: bool
    ) -> ServedVersion | None:
        """Return a version that is already served, or load it; None if it is refused and not served."""
        earlier = served.get(found.folder)
        if earlier is not None and earlier.snapshot == found.snapshot:
            return earlier
        if again or self._refused.get(found.folder) != found.snapshot:
            try:
                loaded = self._load(found)
                self._check_schema(loaded.model)
            except (DLRMError, OSError) as error:
                self._refused[found.folder] = found.snapshot
                outcome.refused.append(str(error))
            else:
                outcome.loaded.append(loaded.model.version)
                return loaded
        return earlier

    def _load(self, found: FoundVersion) -> ServedVersion:
        settings = self._settings
        model = LoadedModel(
            found.folder,
            found.version,
            pages=settings.pages,
            checksums=settings.checksums,
            allow_not_accepted=settings.allow_not_accepted,
            bases=found.others,
        )
        batcher = Batcher(model.score, self._executor, self._limits, merges=model.merges, observe=self._observe)
        return ServedVersion(model, batcher, found.snapshot)

    def _check_schema(self, model: LoadedModel) -> None:
        now, new = self.newest.model.inputs.schema, model.inputs.schema
        for part in ("inputs", "fields"):
            if now[part] and now[part] != new[part]:
                raise ArtifactError(
                    f"{model.folder}: takes other {part} than the version that is being served, so its clients' "
                    "requests would fail. Serve it under another name, with --model NAME=DIR."
                )

    @staticmethod
    def _by_name(versions: list[ServedVersion]) -> dict[str, ServedVersion]:
        return {version.model.version: version for version in versions}
