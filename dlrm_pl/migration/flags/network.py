"""Flags of the network, its loss and its optimizer -> ``model``."""

from __future__ import annotations

from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.flags.plan import Plan
from dlrm_pl.model.architecture import Architecture

_SCHEDULE = ("--lr-num-warmup-steps", "--lr-decay-start-step", "--lr-num-decay-steps")


def translate_network(plan: Plan) -> None:
    """Set all of ``model``."""
    _layers(plan)
    _loss(plan)
    _optimizer(plan)


def _layers(plan: Plan) -> None:
    values = plan.values
    dim, bottom, top = "--arch-sparse-feature-size", "--arch-mlp-bot", "--arch-mlp-top"
    widths = values.integers(bottom)
    columns = Columns.criteo()  # Upstream's programs read no other logs.
    with_a_dataset = [columns.num_dense, *widths[1:]]
    why = "0 is the number of dense columns"
    if widths != with_a_dataset:
        why = f"{why}, {columns.num_dense} in upstream's datasets, whatever is given"
    plan.set("model.embedding_dim", values.integer(dim), dim)
    plan.set("model.bottom_mlp", [0, *widths[1:]], bottom, why=why)
    plan.set("model.top_mlp", values.integers(top), top)
    if values.program == "ipex":
        plan.set("model.interaction", "dot", why="the only one in the IPEX variant")
        plan.set("model.self_interaction", False, why="as in the IPEX variant")
    else:
        plan.set("model.interaction", values.text("--arch-interaction-op"), "--arch-interaction-op")
        plan.set("model.self_interaction", values.on("--arch-interaction-itself"), "--arch-interaction-itself")
    try:
        Architecture((1,) * columns.num_sparse, values.integer(dim), tuple(with_a_dataset), tuple(values.integers(top)))
    except ConfigurationError as error:
        plan.refuse(f"{values.shown(dim)} {values.shown(bottom)} {values.shown(top)}", str(error).rstrip("."))
    pooling = values.by_name["--weighted-pooling"]
    if pooling is not None:
        why = "weights that stay 1" if pooling == "fixed" else "a trained weight for each row"
        plan.set("model.weighted_pooling", "fixed" if pooling == "fixed" else "learned", "--weighted-pooling", why=why)


def _loss(plan: Plan) -> None:
    values = plan.values
    loss = "bce" if values.program == "ipex" else values.text("--loss-function")
    if values.program == "ipex":
        plan.set("model.loss", loss, why="the only one in the IPEX variant")
    else:
        plan.set("model.loss", loss, "--loss-function")
    if loss not in ("mse", "bce", "wbce"):
        plan.refuse("--loss-function", "must be mse, bce or wbce; upstream exits as well")
    if loss == "wbce":
        weights = values.numbers("--loss-weights")
        plan.set("model.loss_weights", weights, "--loss-weights", why="of non-clicks and of clicks")
        if len(weights) != 2:
            plan.refuse("--loss-weights", "must be two numbers, for non-clicks and for clicks, for example 1.0-5.0")
    elif "--loss-weights" in values.given:
        plan.note("--loss-weights", "is only used with --loss-function=wbce")
    threshold = values.number("--loss-threshold")
    if 0 < threshold < 1:
        plan.set("model.loss_threshold", threshold, "--loss-threshold", why="in training and in inference")
        if threshold >= 0.5:
            plan.refuse("--loss-threshold", "makes all probabilities equal, in upstream too. Give a value below 0.5")
    else:
        why = "it is on only between 0 and 1" if threshold else ""
        plan.set("model.loss_threshold", 0.0, "--loss-threshold", why=why)


def _optimizer(plan: Plan) -> None:
    values = plan.values
    optimizer = values.text("--optimizer")
    if values.program == "main" or "--optimizer" in values.given:
        plan.set("model.optimizer", optimizer, "--optimizer")
    else:
        plan.set("model.optimizer", optimizer, why="the only one in this variant")
    if optimizer not in ("sgd", "adagrad", "rwsadagrad"):
        plan.refuse(
            "--optimizer",
            "must be sgd, adagrad or rwsadagrad, as in upstream. To use Adam or LAMB for the MLPs, translate with "
            "one of these and add --model.dense_optimizer to `fit`",
        )
    elif optimizer != "sgd" and values.on("--use-gpu"):
        plan.note("--optimizer", "upstream exits if it is combined with --use-gpu; here it trains")
    if optimizer == "rwsadagrad":
        plan.note("--optimizer", "means row-wise Adagrad for the tables and Adagrad for the MLPs, as in upstream")
    plan.set("model.learning_rate", values.number("--learning-rate"), "--learning-rate")
    if not 0 < values.number("--learning-rate") < float("inf"):
        plan.refuse("--learning-rate", "must be above 0 and finite")
    _schedule(plan)


def _schedule(plan: Plan) -> None:
    values = plan.values
    warmup, start, decay = (values.integer(name) for name in _SCHEDULE)
    if values.program == "tune" and not values.given & set(_SCHEDULE):
        return  # That variant has no schedule, and neither does our default.
    for name, value in zip(_SCHEDULE, (warmup, start, decay), strict=True):
        plan.set("model." + name[2:].replace("-", "_"), value, name)
        if value < 0:
            plan.refuse(name, "must be 0 (off) or more")
    if decay and start < warmup:
        plan.refuse("--lr-decay-start-step", f"is within the warm-up of {warmup} steps; upstream exits as well")
    elif start < warmup:
        plan.note(
            "--lr-num-warmup-steps",
            "upstream exits, because its decay would start before the end of the warm-up; here it warms up",
        )
    elif decay and not warmup and start > 1:
        plan.note(
            "--lr-decay-start-step", "upstream fails without a warm-up; here the rate before the decay is the base rate"
        )
