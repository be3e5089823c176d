"""Open a checkpoint of facebookresearch/dlrm, of its own program or of the TorchRec one, depending on its contents."""

from __future__ import annotations

from pathlib import Path

from dlrm_pl.errors import CheckpointError, ConfigurationError
from dlrm_pl.model.architecture import Interaction
from dlrm_pl.model.torchrec_names import is_torchrec_checkpoint
from dlrm_pl.model.upstream.foreign import ForeignCheckpoint
from dlrm_pl.model.upstream.importing import UpstreamCheckpoint
from dlrm_pl.model.upstream.torchrec.importing import TorchRecCheckpoint
from dlrm_pl.torch_file.directory import TorchFile


def open_foreign(
    path: Path,
    *,
    interaction: Interaction | None = None,
    self_interaction: bool | None = None,
    loss_threshold: float = 0.0,
) -> ForeignCheckpoint:
    """Open a checkpoint of ``dlrm_s_pytorch.py``, or of TorchRec's DLRM.

    Args:
        path: a ``torch.save`` file; for TorchRec, also a folder of ``torch.distributed.checkpoint`` or torchsnapshot.
        interaction: see ``UpstreamCheckpoint``.
        self_interaction: see ``UpstreamCheckpoint``.
        loss_threshold: see ``UpstreamCheckpoint``.

    Raises:
        CheckpointError: the checkpoint is unreadable or incomplete, or holds another model.
        ConfigurationError: it is TorchRec's, and an argument states what its names already say, or what it does not
            have.
    """
    if not _is_torchrec(path):
        return UpstreamCheckpoint(
            path, interaction=interaction, self_interaction=self_interaction, loss_threshold=loss_threshold
        )
    opened = TorchRecCheckpoint(path)
    given = {"interaction": interaction, "self_interaction": self_interaction, "loss_threshold": loss_threshold or None}
    if stated := [name for name, value in given.items() if value is not None]:
        raise ConfigurationError(
            f"{path}: is a checkpoint of TorchRec's DLRM: its parameter names determine the interaction, "
            f"{opened.architecture.interaction}, and it has no loss threshold. Leave out {' and '.join(stated)}."
        )
    return opened


def _is_torchrec(path: Path) -> bool:
    """Tell whether a path is a folder, which only TorchRec's checkpoints are, or a file with TorchRec's names."""
    if path.is_dir():
        return True
    try:
        contents = TorchFile.open(path).contents
    except CheckpointError:
        return False  # The caller opens it again, and so reports what is wrong.
    return isinstance(contents, dict) and is_torchrec_checkpoint(contents)
