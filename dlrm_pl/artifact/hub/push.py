"""Upload an artifact with its model card to the Hugging Face Hub."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dlrm_pl.artifact.card.card import CARD_NAME, MAX_BYTES, has_unedited_card, render_card
from dlrm_pl.artifact.card.facts import CardFacts, facts_of
from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.files import check_files
from dlrm_pl.artifact.hub.library import HubRepository, HubState
from dlrm_pl.artifact.manifest import FILE_NAME, Manifest
from dlrm_pl.data.encoding.vocabulary_file import VOCABULARY_NAME
from dlrm_pl.documents.json_text import object_in, object_with, read_text
from dlrm_pl.errors import ArtifactError, ConfigurationError, HubError, OutputError
from dlrm_pl.files.sizes import format_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PushSettings:
    """Options for pushing an artifact.

    Attributes:
        private: whether only the owners can see the repository. A new repository is made private, and a public one is
            refused. None: the owner's default.
        branch: branch to push to, which is created if it does not exist; None: ``main``.
        create_pr: open a pull request instead.
        message: first line of the commit; None: the outcome and the AUROC.
        card: file with a model card of your own; None: ``README.md`` in the artifact folder if there is one, else the
            card that ``render_card`` makes.
        license: licence to state in a card that is made here.
        allow_not_accepted: push an artifact that was not accepted.
        overwrite: replace files in the repository that no push of an artifact has written.
    """

    private: bool | None = None
    branch: str | None = None
    create_pr: bool = False
    message: str | None = None
    card: Path | None = None
    license: str = ""
    allow_not_accepted: bool = False
    overwrite: bool = False


def push_artifact(
    folder: Path,
    places: Mapping[str, Path],
    manifest: Manifest,
    certificate: Certificate,
    repo_id: str,
    settings: PushSettings,
) -> str:
    """Upload the files of the manifest, the manifest and a model card in one commit.

    All files are compared with their checksums before anything is sent. Files of an artifact that was pushed there
    before are replaced or deleted; other files stay.

    Args:
        folder: the artifact folder.
        places: its files by name, as ``places_of`` finds them.
        manifest: the manifest.
        certificate: the certificate.
        repo_id: repository, ``user/name``; it is created if it does not exist.
        settings: how to push.

    Returns:
        The address of the commit or of the pull request.

    Raises:
        ArtifactError: the artifact was not accepted, or a file does not match its checksum.
        OutputError: the repository has other files of these names, or a card that was edited.
        ConfigurationError: the name of the repository or the licence is not valid, or your card cannot be read.
        HubError: the Hub refuses it or cannot be reached.
    """
    if not certificate.accepted and not settings.allow_not_accepted:
        raise ArtifactError(
            f"{folder}: this model is {certificate.outcome}: {certificate.reason}. To share it anyway, give "
            "--allow_not_accepted (in Python, allow_not_accepted=True); its card states this at the top."
        )
    repository = HubRepository(repo_id)
    check_files(places, manifest)
    files: dict[str, Path | bytes] = {**places, FILE_NAME: folder / FILE_NAME}
    if CARD_NAME in files:
        raise ArtifactError(
            f"{folder / FILE_NAME}: lists {CARD_NAME}, which an artifact's manifest never lists. Quantize again."
        )
    facts = facts_of(folder, places, manifest, certificate, None, repo_id, settings.license)
    files[CARD_NAME] = _card(folder, facts, settings).encode()
    if VOCABULARY_NAME in files:
        log.warning("%s: %s contains the category values of the log; they will be uploaded", folder, VOCABULARY_NAME)
    repository.create(settings.private, None if settings.create_pr else settings.branch)
    state = repository.state(settings.branch)
    if settings.private and not state.private:
        raise HubError(f"{repo_id}: exists and is public, but private=True was given. Nothing was uploaded.")
    earlier = _earlier_names(repository, state)
    foreign = sorted(files.keys() & set(state.names) - earlier)
    if foreign and not settings.overwrite:
        raise OutputError(
            f"{repo_id}: contains files that no artifact push has written, or that were edited since then: "
            f"{', '.join(foreign)}. Choose another repository, or give --overwrite (overwrite=True) to replace them; "
            "their history is kept."
        )
    size = sum(content.stat().st_size for content in files.values() if isinstance(content, Path))
    log.info("%s: uploading %d files, %s, to %s", folder, len(files), format_bytes(size), repo_id)
    return repository.commit(
        files,
        sorted(earlier - files.keys()),
        settings.message or f"{certificate.outcome.capitalize()}: AUROC {certificate.int8['auroc']:.6f} in int8",
        parent=state.commit,
        branch=settings.branch,
        create_pr=settings.create_pr,
    )


def _card(folder: Path, facts: CardFacts, settings: PushSettings) -> str:
    """Return the text of the card to upload: the user's own, or one of the facts."""
    path = settings.card
    if path is None and (folder / CARD_NAME).is_file():
        path = folder / CARD_NAME
    if path is None:
        return render_card(facts)
    if settings.license:
        raise ConfigurationError(
            f"license={settings.license}: the card {path} is used unchanged. State the licence there."
        )
    log.info("%s: uploading the card %s", folder, path)
    return read_text(path, ConfigurationError, "Give a model card.", max_bytes=MAX_BYTES)


def _earlier_names(repository: HubRepository, state: HubState) -> set[str]:
    """Return the files in a repository that an earlier push has written, so that this one may replace them."""
    if FILE_NAME not in state.names:
        return set()
    folder = repository.download([FILE_NAME, CARD_NAME], state.commit)
    manifest = object_with(folder / FILE_NAME, "format")
    names = object_in(manifest, "files") if manifest else None
    if names is None:
        return set()
    card = {CARD_NAME} if has_unedited_card(folder) else set()
    return {FILE_NAME, *names, *card} & set(state.names)
