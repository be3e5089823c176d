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

    The files of the manifest, the manifest and the card are uploaded in one commit, after all of them were compared
    with their checksums. Files of an artifact that was pushed there before are replaced or deleted; their history
    stays. The token is that of `hf auth login`, or HF_TOKEN; the Hub may be another one (HF_ENDPOINT). Needs
    huggingface_hub: `pip install "dlrm-pl[hub]"`. `dlrm_pl.Artifact.from_pretrained` downloads the artifact again.

    Args:
        artifact: the artifact folder.
        repo_id: repository, `user/name`; it is made if there is none.
        private: only the owners can see the repository. A new one is made so, and one that is public is refused; as
            the owner's default when not given.
        revision: branch to push to, which is made if there is none; main when not given.
        create_pr: open a pull request instead.
        commit_message: first line of the commit; the outcome and the AUROC when not given.
        card: file with a model card; README.md in the artifact folder if there is one, else one is written, when not
            given.
        license: licence that a card written here states, such as apache-2.0.
        allow_not_accepted: push an artifact that was not accepted.
        overwrite: replace files in the repository that no push of an artifact has written, or that were edited.
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
