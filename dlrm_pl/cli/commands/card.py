"""Write the model card of an artifact."""

from __future__ import annotations

from pathlib import Path

from dlrm_pl.cli.output import Report


def card(
    artifact: str,
    output: str | None = None,
    name: str | None = None,
    license: str | None = None,
    repo_id: str | None = None,
    overwrite: bool = False,
) -> Report:
    """Write a model card: what the model is, what quantization cost, and how to load and verify it.

    The card is Markdown with a YAML header, like the README.md of a repository on the Hugging Face Hub. It is made from
    the manifest and the certificate, so the same artifact gives the same text. It may be written into the artifact
    folder as README.md: no checksum covers that file, and `quantize` replaces it together with the artifact, unless it
    was edited.

    Args:
        artifact: the artifact folder.
        output: file to write; by default the card is printed.
        name: name of the model; by default that of the repository, or of the folder.
        license: licence of the model, as the Hub names it, such as apache-2.0.
        repo_id: repository on the Hub (`user/name`) that the code in the card loads the model from.
        overwrite: replace a different file named ``output``; a file with the same text may always be written again.
    """
    from dlrm_pl.artifact.card.card import check_place, render_card
    from dlrm_pl.artifact.card.facts import read_facts
    from dlrm_pl.files.atomic import atomic_file
    from dlrm_pl.files.destinations import check_file, holds

    folder = Path(artifact)
    facts = read_facts(folder, name, repo_id=repo_id or "", license=license or "")
    text = render_card(facts)
    if output is not None:
        path = Path(output)
        check_place(path, folder)
        check_file(path, overwrite or holds(path, text.encode()), sinks=True)
        with atomic_file(path, sinks=True) as handle:
            handle.write(text)
    report = {"artifact": artifact, "output": output, "outcome": facts.certificate.outcome, "card": text}
    return Report(report, text.removesuffix("\n") if output is None else f"{output}: {facts.certificate.outcome}")
