"""The shape of a DLRM as plain numbers: what a checkpoint, an artifact and a certificate state of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from dlrm_pl.documents.fields import make
from dlrm_pl.errors import ConfigurationError

Interaction = Literal["dot", "cat"]
# Far beyond any model; the bytes of a table or of a layer then stay within 64 bits.
MAX_ROWS = 1 << 40
MAX_WIDTH = 1 << 20
MAX_PARTS = 10_000


@dataclass(frozen=True)
class Architecture:
    """The shape of a DLRM.

    Attributes:
        table_sizes: rows of each table.
        embedding_dim: D.
        bottom_mlp: widths of the bottom MLP with its input, as in 13-512-256-128; the last is D.
        top_mlp: widths of the top MLP without its input, as in 1024-1024-512-256-1; the last is 1.
        interaction: pairwise dot products, or plain concatenation.
        self_interaction: include the dot product of each vector with itself.
        loss_threshold: t in (0, 1) clamps the probability to [t, 1 - t], as the reference does; 0 is off.

    Raises:
        ConfigurationError: numbers that make no network; names them.
    """

    table_sizes: tuple[int, ...]
    embedding_dim: int
    bottom_mlp: tuple[int, ...]
    top_mlp: tuple[int, ...]
    interaction: Interaction = "dot"
    self_interaction: bool = False
    loss_threshold: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not self.table_sizes:
            raise ConfigurationError("table_sizes is empty: a DLRM needs at least one table.")
        for name in ("table_sizes", "bottom_mlp", "top_mlp"):
            for index, value in enumerate(getattr(self, name)):
                if type(value) is not int or value < 1:
                    raise ConfigurationError(f"{name}[{index}]={value!r} must be a whole number of at least 1.")
                largest = MAX_ROWS if name == "table_sizes" else MAX_WIDTH
                if value > largest:
                    raise ConfigurationError(f"{name}[{index}]={value} is more than the {largest:,} that are possible.")
            if (parts := len(getattr(self, name))) > MAX_PARTS:
                raise ConfigurationError(
                    f"{name} has {parts:,} numbers, more than the {MAX_PARTS:,} that are possible."
                )
        if len(self.bottom_mlp) < 2:
            raise ConfigurationError(f"bottom_mlp={list(self.bottom_mlp)} needs its input and at least one layer.")
        if self.bottom_mlp[-1] != self.embedding_dim:
            raise ConfigurationError(
                f"bottom_mlp={list(self.bottom_mlp)} ends in {self.bottom_mlp[-1]}, but must end in "
                f"embedding_dim={self.embedding_dim}, since its output interacts with the embeddings."
            )
        if not self.top_mlp or self.top_mlp[-1] != 1:
            raise ConfigurationError(f"top_mlp={list(self.top_mlp)} must end in 1, the logit.")
        if self.interaction not in ("dot", "cat"):
            raise ConfigurationError(f"interaction={self.interaction!r} must be 'dot' or 'cat'.")
        if not 0 <= self.loss_threshold < 0.5:
            raise ConfigurationError(
                f"loss_threshold={self.loss_threshold} must be 0 (off) or below 0.5: it clamps to [t, 1 - t]."
            )

    @property
    def num_tables(self) -> int:
        """T."""
        return len(self.table_sizes)

    @property
    def interaction_width(self) -> int:
        """Inputs of the top MLP."""
        vectors = self.num_tables + 1
        if self.interaction == "cat":
            return vectors * self.embedding_dim
        pairs = vectors * (vectors + 1) // 2 if self.self_interaction else vectors * (vectors - 1) // 2
        return self.embedding_dim + pairs

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        """The inverse of ``to_dict``.

        Raises:
            ConfigurationError: a key is missing or unknown, or the numbers make no network.
        """
        return make(cls, values, "the architecture", ConfigurationError)
