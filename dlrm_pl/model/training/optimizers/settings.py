"""Optimizers that train a model, and their hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.errors import ConfigurationError

TableRule = Literal["sgd", "adagrad", "rwsadagrad"]
"""Optimizer of the tables; each choice changes only the rows that a batch looks up."""

DenseRule = Literal["sgd", "adagrad", "adam", "lamb"]
"""Optimizer of the MLPs."""

_ADAPTIVE = ("adam", "lamb")
_EPSILON = {"sgd": 0.0, "adagrad": 1e-10, "rwsadagrad": 1e-10, "adam": 1e-8, "lamb": 1e-6}  # As in torch and upstream.


@dataclass(frozen=True)
class OptimizerSettings:
    """Optimizers of the tables and of the MLPs. The names are those of ``DLRMModule``'s arguments.

    Attributes:
        optimizer: optimizer of the tables, and of the MLPs if they have no other.
        learning_rate: learning rate before the schedule, above 0.
        epsilon: value that Adagrad adds to the root of its sums, for the tables, and for the MLPs if they have no
            optimizer of their own; None: 1e-10, as in torch and upstream (facebookresearch/dlrm).
        dense_optimizer: optimizer of the MLPs; None: ``optimizer``, or Adagrad with row-wise Adagrad, as in upstream.
        dense_learning_rate: learning rate of the MLPs before the schedule; None: ``learning_rate``.
        dense_epsilon: epsilon of the MLPs' optimizer; None: the optimizer's usual one.
        dense_betas: decay rates of the averages of gradients and of their squares in Adam and LAMB.
        dense_weight_decay: decoupled weight decay of Adam (then AdamW) and LAMB.

    Raises:
        ConfigurationError: a number is out of range, or the optimizer does not use it.
    """

    optimizer: TableRule = "sgd"
    learning_rate: float = 0.1
    epsilon: float | None = None
    dense_optimizer: DenseRule | None = None
    dense_learning_rate: float | None = None
    dense_epsilon: float | None = None
    dense_betas: tuple[float, ...] = (0.9, 0.999)
    dense_weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_rules(self.optimizer, self.dense_optimizer)
        check_fields(self)
        for name in ("learning_rate", "dense_learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigurationError(f"{name}={value} must be above 0 and finite.")
        for name in ("epsilon", "dense_epsilon", "dense_weight_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ConfigurationError(f"{name}={value} must be 0 or more, and finite.")
        if len(self.dense_betas) != 2 or not all(0 <= beta < 1 for beta in self.dense_betas):
            raise ConfigurationError(
                f"dense_betas={list(self.dense_betas)} must be two numbers of at least 0 and below 1: the decay "
                "rates of the averages of the gradients and of their squares."
            )
        self._check_use()

    def _check_use(self) -> None:
        """Refuse numbers that no optimizer would read."""
        dense = self.dense_rule
        if self.epsilon is not None and self.optimizer == "sgd":
            raise ConfigurationError(
                f"epsilon={self.epsilon} applies to Adagrad, but the tables' optimizer is sgd. Leave it out, give "
                "optimizer='adagrad' or 'rwsadagrad', or give dense_epsilon for the MLPs' optimizer."
            )
        if self.dense_epsilon is not None and dense == "sgd":
            raise ConfigurationError(
                f"dense_epsilon={self.dense_epsilon} applies to adagrad, adam and lamb, but the MLPs' optimizer is "
                "sgd. Leave it out, or give another dense_optimizer."
            )
        if dense not in _ADAPTIVE:
            for name, is_set in (
                ("dense_betas", tuple(self.dense_betas) != (0.9, 0.999)),
                ("dense_weight_decay", self.dense_weight_decay != 0),
            ):
                if is_set:
                    value = getattr(self, name)
                    shown = list(value) if isinstance(value, tuple) else value
                    raise ConfigurationError(
                        f"{name}={shown} applies to adam and lamb, but the MLPs' optimizer is {dense}. Leave it out, "
                        "or give dense_optimizer='adam' or 'lamb'."
                    )

    @property
    def dense_rule(self) -> DenseRule:
        """Optimizer of the MLPs."""
        if self.dense_optimizer is not None:
            return self.dense_optimizer
        return "sgd" if self.optimizer == "sgd" else "adagrad"

    @property
    def is_plain(self) -> bool:
        """Whether a torch optimizer with one group for all weights does the same as these settings."""
        own = (self.dense_optimizer, self.dense_learning_rate, self.dense_epsilon)
        return self.optimizer != "rwsadagrad" and own == (None, None, None)

    @property
    def table_epsilon(self) -> float:
        """Epsilon of the tables' optimizer; 0 for sgd, which has none."""
        return _EPSILON[self.optimizer] if self.epsilon is None else self.epsilon

    @property
    def mlp_epsilon(self) -> float:
        """Epsilon of the MLPs' optimizer; 0 for sgd, which has none."""
        if self.dense_epsilon is not None:
            return self.dense_epsilon
        if self.dense_optimizer is None:
            return self.table_epsilon
        return _EPSILON[self.dense_optimizer]

    @property
    def mlp_learning_rate(self) -> float:
        """Learning rate of the MLPs before the schedule."""
        return self.learning_rate if self.dense_learning_rate is None else self.dense_learning_rate

    def table_state_bytes(self, rows: int, dim: int) -> int:
        """Return the size of the optimizer's state for tables with this many rows in total, in bytes."""
        return {"sgd": 0, "adagrad": 4 * rows * dim, "rwsadagrad": 4 * rows}[self.optimizer]


def check_rules(optimizer: object, dense_optimizer: object) -> None:
    """Refuse optimizers for parts that they cannot train, before their names are checked.

    Raises:
        ConfigurationError: an optimizer for MLPs is given for the tables, or vice versa; the message says what to give
            instead.
    """
    if optimizer in _ADAPTIVE:
        raise ConfigurationError(
            f"optimizer={optimizer!r} is for the MLPs only, because it would change every row of every table in each "
            f"step. Give dense_optimizer={optimizer!r}, and for the tables optimizer='sgd', 'adagrad' or "
            "'rwsadagrad'."
        )
    if dense_optimizer == "rwsadagrad":
        raise ConfigurationError(
            "dense_optimizer='rwsadagrad' is for the tables only, because an MLP has no embedding rows. Give "
            "dense_optimizer='adagrad', with which upstream trains the MLPs when the tables use row-wise Adagrad."
        )
