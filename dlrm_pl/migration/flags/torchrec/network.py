"""Flags of the network and its optimizer -> ``model``."""

from __future__ import annotations

from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.flags.plan import Plan
from dlrm_pl.model.architecture import Architecture

_KINDS = {"original": "dot", "dcn": "dcn"}
_OF_DCN = {"cross_layers": "--dcn_num_layers", "cross_rank": "--dcn_low_rank_dim"}
_SCHEDULE = {
    "lr_num_warmup_steps": "--lr_warmup_steps",
    "lr_decay_start_step": "--lr_decay_start",
    "lr_num_decay_steps": "--lr_decay_steps",
}


def translate_network(plan: Plan) -> None:
    """Set all of ``model``."""
    _layers(plan)
    plan.set("model.loss", "bce", why="the only one in this program")
    _optimizer(plan)
    _schedule(plan)


def _layers(plan: Plan) -> None:
    values = plan.values
    dim, bottom, top = "--embedding_dim", "--dense_arch_layer_sizes", "--over_arch_layer_sizes"
    kind = values.text("--interaction_type")
    if kind not in _KINDS:
        plan.refuse(
            "--interaction_type",
            "puts its own MLPs between the vectors, which is not supported. Give --interaction_type=dcn, or leave it "
            "out",
        )
        return
    plan.set("model.embedding_dim", values.integer(dim), dim)
    plan.set("model.bottom_mlp", [0, *values.integers(bottom)], bottom, why="0 is the number of dense columns")
    plan.set("model.top_mlp", values.integers(top), top)
    plan.set("model.interaction", _KINDS[kind], "--interaction_type")
    crossed = {name: values.integer(flag) for name, flag in _OF_DCN.items()} if kind == "dcn" else {}
    for name, value in crossed.items():
        plan.set(f"model.{name}", value, _OF_DCN[name])
    if not crossed:
        for flag in set(_OF_DCN.values()) & values.given:
            plan.note(flag, "only has an effect with --interaction_type=dcn")
    columns = Columns.criteo()  # The program reads no other logs.
    try:
        Architecture(
            table_sizes=(1,) * columns.num_sparse,
            embedding_dim=values.integer(dim),
            bottom_mlp=(columns.num_dense, *values.integers(bottom)),
            top_mlp=tuple(values.integers(top)),
            interaction="dcn" if crossed else "dot",
            cross_layers=crossed.get("cross_layers", 0),
            cross_rank=crossed.get("cross_rank", 0),
        )
    except ConfigurationError as error:
        named = [dim, bottom, top, *(_OF_DCN.values() if crossed else ())]
        plan.refuse(" ".join(map(values.shown, named)), str(error).rstrip("."))


def _optimizer(plan: Plan) -> None:
    values = plan.values
    adagrad = values.on("--adagrad")
    plan.set("model.optimizer", "adagrad" if adagrad else "sgd", "--adagrad", why="" if adagrad else "without it, SGD")
    if adagrad:
        why = "" if values.program == "torchrec" else "a constant of MLPerf's copy"
        plan.set("model.epsilon", values.number("--eps"), *(() if why else ("--eps",)), why=why)
        if not 0 <= values.number("--eps") < float("inf"):
            plan.refuse("--eps", "must be 0 or more, and finite")
    elif "--eps" in values.given:
        plan.note("--eps", "only has an effect with --adagrad")
    rate = values.number("--learning_rate")
    plan.set("model.learning_rate", rate, "--learning_rate")
    if not 0 < rate < float("inf"):
        plan.refuse("--learning_rate", "must be above 0 and finite")


def _schedule(plan: Plan) -> None:
    values = plan.values
    warmup, start, decay = (values.integer(flag) for flag in _SCHEDULE.values())
    for (name, flag), value in zip(_SCHEDULE.items(), (warmup, start, decay), strict=True):
        plan.set(f"model.{name}", value, flag)
        if value < 0:
            plan.refuse(flag, "must be 0 (off) or more")
    if decay and start < warmup:
        plan.refuse("--lr_decay_start", f"is within the warm-up of {warmup} steps; the program exits as well")
    elif start < warmup:
        plan.note(
            "--lr_warmup_steps",
            "the program exits, because its decay would start before the end of the warm-up; here it warms up",
        )
    elif decay and not warmup and start > 1:
        plan.note(
            "--lr_decay_start", "the program fails without a warm-up; here the rate before the decay is the base rate"
        )
