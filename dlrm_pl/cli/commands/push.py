"""Upload an artifact to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from dlrm_pl.cli.output import Report


def push(
    artifact: str,
    repo_id: str,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    card: str | None = None,
    license: str | None = None,
    allow_not_accepted: bool = False,
    overwrite: bool = False,
) -> Report:
    """Upload an artifact with its model card to the Hugging Face Hub.

    The manifest, the files it lists and the card are uploaded in one commit, after all of them have been compared with
    their checksums. Files of an artifact that was pushed there before are replaced or deleted; their history is kept.
    The token is that of `hf auth login`, or HF_TOKEN; another Hub can be used with HF_ENDPOINT. Needs huggingface_hub:
    `pip install "dlrm-pl[hub]"`. `dlrm_pl.Artifact.from_pretrained` downloads the artifact again.

    Args:
        artifact: the artifact folder.
        repo_id: repository, `user/name`; it is created if it does not exist.
        private: only the owners can see the repository. A new repository is created as private, and an existing public
            one is refused; by default, the owner's setting applies.
        revision: branch to push to, which is created if it does not exist; by default main.
        create_pr: open a pull request instead.
        commit_message: first line of the commit message; by default the outcome and the AUROC.
        card: file with a model card; by default README.md in the artifact folder, or, if there is none, a new card.
        license: licence that a new card states, such as apache-2.0.
        allow_not_accepted: push an artifact that was not accepted.
        overwrite: replace files in the repository that were not written by an artifact push, or that were edited.
    """
    from dlrm_pl.artifact.certificate.matching import read_matching_certificate
    from dlrm_pl.artifact.files import places_of
    from dlrm_pl.artifact.hub.push import PushSettings, push_artifact
    from dlrm_pl.artifact.manifest import Manifest

    folder = Path(artifact)
    manifest = Manifest.read(folder)
    places = places_of(folder, manifest)
    certificate = read_matching_certificate(folder, manifest)
    settings = PushSettings(
        private=private,
        branch=revision,
        create_pr=create_pr,
        message=commit_message,
        card=None if card is None else Path(card),
        license=license or "",
        allow_not_accepted=allow_not_accepted,
        overwrite=overwrite,
    )
    url = push_artifact(folder, places, manifest, certificate, repo_id, settings)
    return Report(
        {"artifact": artifact, "repo_id": repo_id, "outcome": certificate.outcome, "url": url}, f"{artifact}: {url}"
    )
