"""Load an artifact folder without the float model and without unpickling, with memory-mapped weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from safetensors import SafetensorError, safe_open
from torch import Tensor

from dlrm_pl.artifact.card.card import CARD_NAME, has_unedited_card
from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.matching import read_matching_certificate
from dlrm_pl.artifact.columns import stated_columns
from dlrm_pl.artifact.digests import DIGESTS_NAME, warn_of_other_digests
from dlrm_pl.artifact.files import check_files, large_files, places_of, table_names
from dlrm_pl.artifact.manifest import CERTIFICATE_NAME, FILE_NAME, RESULT_NAME, WEIGHTS_NAME, Manifest
from dlrm_pl.artifact.notebook import artifact_html, artifact_line
from dlrm_pl.artifact.tensors import from_tensors, to_tensors
from dlrm_pl.columns.columns import Columns
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.documents.json_text import object_in, object_with
from dlrm_pl.errors import ArtifactError, ConfigurationError, ShapeError
from dlrm_pl.files.replacement import FinishedOutput
from dlrm_pl.files.tensor_file import save_tensors
from dlrm_pl.files.watched import Watch, WatchedFile
from dlrm_pl.kernels.int8.pages import Pages, place
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from dlrm_pl.runtime.table_file import map_table
from dlrm_pl.runtime.table_patch import apply_patch
from dlrm_pl.scoring import ROWS_AT_A_TIME, Probabilities, Scorer

if TYPE_CHECKING:
    from dlrm_pl.data.formats.row_encoder import RowEncoder

log = logging.getLogger(__name__)

Checksums = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class Artifact:
    """Contents of an artifact folder: a quantized model with its manifest and certificate.

    Attributes:
        path: the folder.
        model: the quantized model, ready to serve.
        manifest: description of the model and its files.
        certificate: what quantization cost, measured and judged.
        watch: watch over the files, which must not be changed in place while the model is used.
        bases: folders of other artifacts that have the files that a delta leaves out.

    Example:
        >>> from dlrm_pl import load_artifact
        >>> artifact = load_artifact("artifacts/quickstart")
        >>> artifact.certificate.outcome
        'accepted'
        >>> artifact.predict({"dense": [[0] * 13], "sparse": [[0] * 26]}).shape
        (1,)
    """

    path: Path
    model: Int8DLRM
    manifest: Manifest
    certificate: Certificate
    watch: Watch = field(default_factory=Watch, compare=False)
    bases: tuple[Path, ...] = ()

    @cached_property
    def columns(self) -> Columns | None:
        """Columns of the rows that the model scores; None if the model's data had none."""
        return stated_columns(self.manifest.columns, self.model.architecture, str(self.path))

    @cached_property
    def encoder(self) -> RowEncoder:
        """Encoder of rows with raw values into records, using the artifact's own dictionaries; read on first access.

        Raises:
            ConfigurationError: it needs dictionaries and has none; see ``with_vocabulary`` of ``quantize``.
            ArtifactError: they are damaged, or are not those of the model.
        """
        from dlrm_pl.data.encoding.encoders import artifact_encoder
        from dlrm_pl.data.encoding.vocabulary_file import VOCABULARY_NAME

        sizes = self.model.architecture.table_sizes
        places = places_of(self.path, self.manifest, self.bases)
        folder = places[VOCABULARY_NAME].parent if VOCABULARY_NAME in places else self.path
        return artifact_encoder(folder, self.columns, sizes, self.manifest.dataset_fingerprint)

    def predict(self, rows: Any, *, batch_size: int = ROWS_AT_A_TIME, raw: bool | None = None) -> Probabilities:
        """Score rows with the model, see ``Predictor.predict``. To serve many requests, make a ``Predictor``."""
        architecture = self.model.architecture
        num_dense, num_tables = architecture.bottom_mlp[0], architecture.num_tables
        scorer = Scorer(self.model, num_dense, num_tables, self.watch, self.columns, lambda: self.encoder)
        return scorer.predict(rows, batch_size=batch_size, raw=raw)

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        checksums: Checksums = "always",
        pages: Pages = "mapped",
    ) -> Self:
        """Download an artifact from the Hugging Face Hub, or take it from the cache; then check it and load it.

        The Hub's address, the token and the cache are settings of huggingface_hub (``HF_ENDPOINT``, ``hf auth login``
        or ``HF_TOKEN``, ``HF_HOME``). With ``HF_HUB_OFFLINE=1``, only the cache is used.

        Args:
            repo_id: repository, ``user/name``.
            revision: branch, tag or commit; None: the branch ``main``.
            cache_dir: folder of the cache; None: huggingface_hub's own.
            local_files_only: use only the cache.
            force_download: download files that are in the cache as well.
            checksums: which files to compare with the checksums in the manifest, see ``load_artifact``.
            pages: how tables get into memory, see ``load_artifact``.

        Raises:
            HubError: there is no such repository or revision, or it cannot be reached and is not in the cache.
            ArtifactError: the repository does not hold an artifact, or a file does not match its checksum.
            ConfigurationError: huggingface_hub is not installed (the extra ``hub``), or an argument is wrong.
        """
        from dlrm_pl.artifact.hub.download import download_artifact

        given = {"repo_id": repo_id, "revision": revision, "cache_dir": cache_dir}
        check_arguments(cls.from_pretrained, given | {"checksums": checksums, "pages": pages})
        folder = download_artifact(
            repo_id,
            revision,
            cache_dir=None if cache_dir is None else Path(cache_dir).expanduser(),
            local_files_only=local_files_only,
            force_download=force_download,
        )
        try:
            loaded = load_artifact(folder, checksums, pages)
        except ArtifactError as error:
            raise ArtifactError(
                f"{error} It was downloaded from {repo_id}: pass force_download=True to download it again."
            ) from error
        return cls(loaded.path, loaded.model, loaded.manifest, loaded.certificate, loaded.watch)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str | None = None,
        card: str | os.PathLike[str] | None = None,
        license: str | None = None,
        allow_not_accepted: bool = False,
        overwrite: bool = False,
    ) -> str:
        """Upload the artifact with a model card to the Hugging Face Hub, in one commit.

        Only the manifest, the files that it names and the card are uploaded, and nothing else in the folder. All of
        them are compared with their checksums first. The files of an artifact that was pushed there before are replaced
        or deleted; their history stays.

        Args:
            repo_id: repository, ``user/name``; it is created if it does not exist.
            private: whether only the owners can see the repository. A new repository is made private, and a public one
                is refused. None: the owner's default.
            revision: branch to push to, which is created if it does not exist; None: ``main``.
            create_pr: open a pull request instead.
            commit_message: first line of the commit; None: the outcome and the AUROC.
            card: file with a model card; None: ``README.md`` in the artifact folder if there is one, else one is
                written.
            license: licence to state in a card that is written here, such as ``apache-2.0``.
            allow_not_accepted: push an artifact that was not accepted.
            overwrite: replace files in the repository that no push of an artifact has written.

        Returns:
            The address of the commit, or of the pull request.

        Raises:
            ArtifactError: the artifact was not accepted, or a file was changed.
            OutputError: the repository has other files of these names, or a card that was edited.
            HubError: the Hub refuses it or cannot be reached.
            ConfigurationError: huggingface_hub is not installed (the extra ``hub``), or an argument is wrong.
        """
        from dlrm_pl.artifact.hub.push import PushSettings, push_artifact

        given = {"repo_id": repo_id, "revision": revision, "card": card, "license": license}
        check_arguments(type(self).push_to_hub, given | {"private": private, "commit_message": commit_message})
        self.watch.check()
        settings = PushSettings(
            private=private,
            branch=revision,
            create_pr=create_pr,
            message=commit_message,
            card=None if card is None else Path(card).expanduser(),
            license=license or "",
            allow_not_accepted=allow_not_accepted,
            overwrite=overwrite,
        )
        places = places_of(self.path, self.manifest, self.bases)
        return push_artifact(self.path, places, self.manifest, self.certificate, repo_id, settings)

    def __repr__(self) -> str:
        """Name the folder, its verdict, AUROC and size in one line."""
        return artifact_line("Artifact", self.path, self.manifest, self.certificate)

    def _repr_html_(self) -> str:
        """Return an HTML table of fp32 and int8 for a notebook."""
        return artifact_html(self.path, self.manifest, self.certificate)


def recognize_artifact(folder: Path) -> FinishedOutput | None:
    """Describe a folder that `quantize` wrote; None for other folders."""
    manifest = object_with(folder / FILE_NAME, "format")
    if manifest is None:
        return None
    result = object_with(folder / RESULT_NAME, "made_from")
    settings = object_in(result, "made_from") if result else None
    card = (CARD_NAME,) if has_unedited_card(folder) else ()
    files = (*(object_in(manifest, "files") or ()), *card, FILE_NAME, DIGESTS_NAME)
    return FinishedOutput("an artifact", "quantize", settings, files)


def save_weights(model: Int8DLRM, folder: Path) -> None:
    """Write ``model.safetensors``, which holds everything but the tables.

    Raises:
        OSError: the file cannot be written; ``errno`` says why.
    """
    tensors, _ = to_tensors(model)
    # Ordered by the names of the ops, so that the same model gives the same bytes.
    save_tensors(tensors, folder / WEIGHTS_NAME)


def load_artifact(
    path: str | os.PathLike[str],
    checksums: Checksums = "auto",
    pages: Pages = "mapped",
    *,
    bases: Sequence[str | os.PathLike[str]] = (),
) -> Artifact:
    """Load an artifact that ``quantize`` wrote, or a delta of one together with its base.

    Args:
        path: the artifact folder, or a delta that ``quantize --refresh`` wrote.
        checksums: which files to compare with the checksums in the manifest: ``always`` all, ``never`` any, or
            ``auto``: all if they are smaller than 1 GiB together, else the small ones. Sizes, shapes and dtypes are
            checked in any case.
        pages: how tables get into memory. ``mapped``: read from the memory-mapped file on use, so that loading takes no
            time and no memory; ``prefault``: read ahead; ``huge``: copied to memory with 2 MiB pages, the fastest.
        bases: folders of artifacts that have the files that a delta leaves out: the artifact that it changes, and if
            that is a delta as well, also the one before.

    Raises:
        ArtifactError: a file is missing, corrupt or changed, or changes meanwhile; or a delta belongs to another
            artifact than ``bases``. The message names the file.
        ConfigurationError: ``checksums`` or ``pages`` has another value.

    Example:
        >>> import numpy as np
        >>> from dlrm_pl import load_artifact
        >>> artifact = load_artifact("artifacts/quickstart")
        >>> dense, sparse = np.zeros((2, 13)), np.zeros((2, 26), dtype=np.int64)
        >>> artifact.predict((dense, sparse)).shape
        (2,)
    """
    check_arguments(load_artifact, {"path": path, "checksums": checksums, "pages": pages, "bases": bases})
    folder = Path(path).expanduser()
    # Files stay open from here on, so that a checked file that is replaced later is noticed.
    first = _watched([folder / FILE_NAME])
    manifest = Manifest.read(folder)
    others = tuple(Path(base).expanduser() for base in bases)
    places = places_of(folder, manifest, others)
    names = (WEIGHTS_NAME, CERTIFICATE_NAME, *table_names(manifest), *manifest.patch_names)
    watch = Watch([*first, *_watched([places[name] for name in names if name in manifest.files])])
    if checksums != "never":
        skipped = large_files(places) if checksums == "auto" else {}
        check_files(places, manifest, without=skipped.keys())
        if skipped:
            size = f"{sum(skipped.values()):,}"
            log.info("%s: skipping the checksums of %s bytes of tables; `inspect --full` checks them", folder, size)
    for name in names:
        if name not in manifest.files:
            raise ArtifactError(f"{folder / FILE_NAME}: has no checksum of {name}. Quantize again.")
    model = load_model(places, manifest, pages)
    if checksums == "always":
        warn_of_other_digests(folder, manifest, model.architecture)
    certificate = read_matching_certificate(folder, manifest)
    for file in watch.files:
        file.check_named()
    return Artifact(folder, model, manifest, certificate, watch, others)


def _watched(paths: Sequence[Path]) -> list[WatchedFile]:
    """Open the files that exist; the code that needs a missing file reports it."""
    return [WatchedFile(path, ArtifactError) for path in paths if path.is_file()]


def load_model(
    places: Mapping[str, Path],
    manifest: Manifest,
    pages: Pages = "mapped",
    *,
    patched: Mapping[int, Tensor] | None = None,
) -> Int8DLRM:
    """Load only the model, from files that were just written or whose checksums have been checked.

    Args:
        places: the files by name, as ``places_of`` finds them.
        manifest: the manifest.
        pages: how tables get into memory, see ``load_artifact``.
        patched: tables, by number, that were mapped from these files before and patched with them in the same way.
    """
    known = patched or {}
    tensors = _read_tensors(places[WEIGHTS_NAME])
    tables = [
        known[index] if index in known else place(map_table(places[name]), pages)
        for index, name in enumerate(table_names(manifest))
    ]
    for op, patches in manifest.patches.items():
        index = int(op.removeprefix("tables."))
        for name in () if index in known else patches:
            apply_patch(places[name], tables[index])
    try:
        architecture = Architecture.from_dict(manifest.architecture)
        stated_columns(manifest.columns, architecture, FILE_NAME)
        return from_tensors(architecture, manifest.ops, tensors, tables)
    except (ArtifactError, ConfigurationError, ShapeError) as error:
        raise ArtifactError(f"{places[WEIGHTS_NAME].parent}: {error}") from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as handle:
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"{path}: cannot be read ({str(error)[:200]}). The file is corrupt; quantize again."
        ) from error
