"""Architecture of TorchRec's DLRM, derived from the shapes in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlrm_pl.errors import CheckpointError, ConfigurationError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.parameter_names import HasShape
from dlrm_pl.model.torchrec_names import to_torchrec_name

Shapes = Mapping[str, tuple[int, ...]]


def architecture_of(tensors: Mapping[str, HasShape], tables: Sequence[str], layers: int) -> Architecture:
    """Derive the architecture from shapes; the interaction is ``dcn`` with a cross network, else ``dot``.

    Args:
        tensors: tensors or their descriptions by our names; only shapes are read.
        tables: TorchRec's names of the tables, in order; for error messages.
        layers: number of layers of the top MLP.

    Raises:
        CheckpointError: a parameter is missing, or its shape does not fit; the message has its TorchRec name.
    """
    found = _Found({name: tuple(tensor.shape) for name, tensor in tensors.items()}, tables, layers)
    sizes = [found.shape(f"embedding_bags.tables.{table}.weight", 2) for table in range(len(tables))]
    for name, (_, width) in zip(tables, sizes, strict=True):
        if width != sizes[0][1]:
            raise CheckpointError(
                f"table {name} has dimension {width}, but {tables[0]} has {sizes[0][1]}. Tables of mixed dimensions "
                "are not supported."
            )
    bottom, top = found.widths("bottom_mlp"), found.widths("top_mlp")
    cross_layers, cross_rank = found.cross_net()
    try:
        architecture = Architecture(
            table_sizes=tuple(rows for rows, _ in sizes),
            embedding_dim=sizes[0][1],
            bottom_mlp=bottom,
            top_mlp=top[1:],
            interaction="dcn" if cross_layers else "dot",
            cross_layers=cross_layers,
            cross_rank=cross_rank,
        )
    except ConfigurationError as error:
        raise CheckpointError(f"The shapes in the checkpoint do not form a DLRM: {error}") from error
    wanted = architecture.interaction_width
    if top[0] != wanted:
        raise CheckpointError(
            f"{found.named('top_mlp.0.weight')} takes {top[0]} inputs, but with interaction "
            f"{architecture.interaction}, {len(tables)} tables of dimension {sizes[0][1]} give {wanted}. A table is "
            "missing, or one is shared by several features, which is not supported."
        )
    for layer in range(cross_layers):
        for part, shape in (("v", (cross_rank, wanted)), ("w", (wanted, cross_rank))):
            name = f"cross_net.{layer}.{part}.weight"
            if found.shape(name, 2) != shape:
                raise CheckpointError(
                    f"{found.named(name)} has shape {list(found.shape(name, 2))}, but {list(shape)} is expected."
                )
        if found.shape(f"cross_net.{layer}.w.bias", 1) != (wanted,):
            raise CheckpointError(f"{found.named(f'cross_net.{layer}.w.bias')} does not have {wanted} values.")
    return architecture


class _Found:
    """Shapes by our names, and errors with TorchRec's names."""

    def __init__(self, shapes: Shapes, tables: Sequence[str], layers: int) -> None:
        self._shapes, self._tables, self._layers = shapes, tables, layers

    def named(self, name: str) -> str:
        """TorchRec's name of a parameter."""
        return to_torchrec_name(name, self._tables, self._layers)

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """Return the shape of a parameter that must exist and have this number of dimensions."""
        if name not in self._shapes:
            raise CheckpointError(f"{self.named(name)!r} is missing: the checkpoint is incomplete.")
        if len(self._shapes[name]) != dimensions:
            raise CheckpointError(
                f"{self.named(name)} has shape {list(self._shapes[name])}, but {dimensions} dimensions are expected."
            )
        return self._shapes[name]

    def widths(self, mlp: str) -> tuple[int, ...]:
        """Return the widths of an MLP, including its input."""
        count = 1 + max((int(name.split(".")[1]) // 2 for name in self._shapes if name.startswith(mlp)), default=0)
        widths: list[int] = []
        for layer in range(0, 2 * count, 2):
            name = f"{mlp}.{layer}"
            outputs, inputs = self.shape(f"{name}.weight", 2)
            if self.shape(f"{name}.bias", 1) != (outputs,):
                raise CheckpointError(f"{self.named(f'{name}.bias')} does not have one value for each output.")
            if widths and inputs != widths[-1]:
                raise CheckpointError(
                    f"{self.named(f'{name}.weight')} takes {inputs} inputs, but the layer before it has {widths[-1]} "
                    "outputs."
                )
            widths += [outputs] if widths else [inputs, outputs]
        return tuple(widths)

    def cross_net(self) -> tuple[int, int]:
        """Return number and rank of the layers of the cross network; 0 if there is none."""
        layers = [int(name.split(".")[1]) for name in self._shapes if name.startswith("cross_net.")]
        if not layers:
            return 0, 0
        return 1 + max(layers), self.shape("cross_net.0.v.weight", 2)[0]
