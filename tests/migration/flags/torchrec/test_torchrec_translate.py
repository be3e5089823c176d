"""Command lines of dlrm_main.py from MLPerf's pages become a YAML and commands."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from dlrm_pl.cli import main as cli
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.flags.plan import Plan
from dlrm_pl.migration.flags.render import render_command, render_yaml
from dlrm_pl.migration.flags.translate import translate

ROWS = (
    "40000000,39060,17295,7424,20265,3,7122,1543,63,40000000,3067956,405282,10,2209,11938,155,4,976,14,40000000,"
    "40000000,40000000,590152,12973,108,36"
)
# From the page of recommendation_v2/torchrec_dlrm in mlcommons/training.
MLPERF = rf"""
export TOTAL_TRAINING_SAMPLES=4195197692 ;
export GLOBAL_BATCH_SIZE=65536 ;
export WORLD_SIZE=8 ;
torchx run -s local_cwd dist.ddp -j 1x8 --script dlrm_main.py -- \
    --embedding_dim 128 \
    --dense_arch_layer_sizes 512,256,128 \
    --over_arch_layer_sizes 1024,1024,512,256,1 \
    --synthetic_multi_hot_criteo_path /data/multi_hot \
    --num_embeddings_per_feature {ROWS} \
    --validation_freq_within_epoch $((TOTAL_TRAINING_SAMPLES / (GLOBAL_BATCH_SIZE * 20))) \
    --epochs 1 \
    --pin_memory \
    --mmap_mode \
    --batch_size $((GLOBAL_BATCH_SIZE / WORLD_SIZE)) \
    --interaction_type=dcn \
    --dcn_num_layers=3 \
    --dcn_low_rank_dim=512 \
    --adagrad \
    --learning_rate 0.005
"""
BAGS = "3,2,1,2,6,1,1,1,1,7,3,8,1,6,9,5,1,1,1,12,100,27,10,3,1,1"
ONE_HOT = "--in_memory_binary_criteo_path days"
SMALL = f"dlrm_main.py {ONE_HOT} --embedding_dim 8 --dense_arch_layer_sizes 16,8 --over_arch_layer_sizes 4,1"


def plan_of(text: str) -> Plan:
    return translate([text], "run.yaml")


def config(text: str) -> dict[str, Any]:
    return yaml.safe_load(render_yaml(plan_of(text)))  # type: ignore[no-any-return]


def commands(text: str) -> list[str]:
    plan = plan_of(text)
    return [render_command(plan, command).removeprefix("python cli.py ") for command in plan.commands]


def callbacks(text: str) -> dict[str, dict[str, Any]]:
    found = config(text)["trainer"]["callbacks"]
    return {entry["class_path"].rsplit(".", 1)[1]: entry.get("init_args", {}) for entry in found}


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        plan_of(text)
    return str(error.value)


def test_the_command_line_of_mlperf_gives_the_values_of_its_configuration(
    capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    (tmp_path / "run.yaml").write_text(render_yaml(plan_of(MLPERF)))
    found = printed_config(capsys, tmp_path / "run.yaml")
    expected = printed_config(capsys, "mlperf_v2")
    assert found["model"] == expected["model"]
    for name in ("table_sizes", "shuffle", "max_ind_range"):
        assert found["data"][name] == expected["data"][name]
    assert (found["data"]["batch_size"], found["trainer"]["devices"]) == (8192, 8)
    assert 8 * found["data"]["batch_size"] == expected["data"]["batch_size"]
    # Bags come from the archives in the folder.
    assert (found["data"]["folder"], found["data"]["multi_hot_sizes"]) == ("/data/multi_hot", None)
    assert (found["trainer"]["val_check_interval"], found["trainer"]["max_epochs"]) == (3200, 1)
    assert commands(MLPERF) == ["fit -c run.yaml", "test -c run.yaml --ckpt_path runs/dlrm_main/last.ckpt"]


def printed_config(capsys: pytest.CaptureFixture[str], source: object) -> dict[str, Any]:
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", "-c", str(source), "--print_config"])
    captured = capsys.readouterr()
    assert stop.value.code == 0, captured.err
    return yaml.safe_load(captured.out)  # type: ignore[no-any-return]


def test_bags_that_are_drawn_are_settings_of_the_data() -> None:
    text = f"{SMALL} --num_embeddings_per_feature {ROWS} --multi_hot_sizes={BAGS} --multi_hot_distribution_type uniform"
    data = config(text)["data"]
    assert data["folder"] == "days"
    assert data["multi_hot_sizes"] == [int(size) for size in BAGS.split(",")]
    assert data["multi_hot_distribution"] == "uniform"
    assert sum(data["table_sizes"]) == 204_184_588


def test_version_1_is_dot_with_sgd() -> None:
    model = config(f"python {SMALL} --num_embeddings 50")["model"]
    assert (model["interaction"], model["optimizer"], model["learning_rate"]) == ("dot", "sgd", 15.0)
    assert "cross_rank" not in model
    assert "epsilon" not in model
    assert config(f"{SMALL} --num_embeddings 50")["data"]["table_sizes"] == [50] * 26


def test_mlperfs_copy_stops_at_its_auroc_and_writes_its_log() -> None:
    text = f"{SMALL} --validation_freq_within_epoch 30 --validation_auroc 0.80275 --adagrad"
    found = callbacks(text)
    assert found["EarlyStopping"]["stopping_threshold"] == 0.80275
    assert found["MLPerfLogging"]["auroc_threshold"] == 0.80275
    assert commands(text) == ["fit -c run.yaml"]
    assert len(commands(f"{text} --evaluate_on_training_end")) == 2
    assert config(text)["model"]["epsilon"] == 1e-8
    assert "EarlyStopping" not in callbacks(f"{SMALL} --validation_auroc 0.8")


@pytest.mark.parametrize(
    ("flags", "trainer"),
    [
        ("", {"val_check_interval": 1.0}),
        ("--print_progress", {"limit_val_batches": 0}),
        ("--print_progress --evaluate_on_epoch_end", {"val_check_interval": 1.0}),
        ("--validation_freq_within_epoch 7", {"val_check_interval": 7}),
        ("--limit_train_batches 3 --limit_test_batches 4", {"limit_train_batches": 3, "limit_test_batches": 4}),
    ],
)
def test_evaluations_are_those_of_the_copy(flags: str, trainer: dict[str, Any]) -> None:
    found = config(f"{SMALL} {flags}")["trainer"]
    assert {name: found.get(name) for name in trainer} == trainer


@pytest.mark.parametrize(
    ("launcher", "devices", "machines"),
    [
        ("", 1, None),
        ("python ", 1, None),
        ("torchrun --nnodes 1 --nproc_per_node 2 --rdzv_backend c10d --role trainer ", 2, None),
        ("torchx run -s local_cwd dist.ddp -j 1x8 --script ", 8, None),
        ("torchx run -s slurm dist.ddp -j 2x4 --script ", 4, 2),
        ("torchx run dist.ddp -j4 --script ", 4, None),
    ],
)
def test_launchers_give_the_number_of_processes(launcher: str, devices: int, machines: int | None) -> None:
    after = "dlrm_main.py --" if "torchx" in launcher else "dlrm_main.py"
    trainer = config(f"{launcher}{SMALL.replace('dlrm_main.py', after)}")["trainer"]
    assert (trainer["devices"], trainer.get("num_nodes")) == (devices, machines)
    assert trainer.get("strategy") == (None if devices == 1 else "sharded")


def test_the_component_of_torchx_is_the_program() -> None:
    flags = SMALL.removeprefix("dlrm_main.py ")
    text = f"torchx run --scheduler slurm aws_component.py:run_dlrm_main --num_trainers=8 -- {flags}"
    assert config(text)["trainer"]["devices"] == 8
    assert config(text)["data"]["folder"] == "days"


def test_flags_alone_tell_the_program() -> None:
    flags = SMALL.removeprefix("dlrm_main.py ")
    assert config(flags) == config(SMALL)
    with pytest.raises(ConfigurationError, match="data-generation"):
        plan_of("--arch-mlp-bot=13-2 --raw-data-file=d/day")


def test_a_variable_in_the_folder_is_handed_over() -> None:
    plan = plan_of(SMALL.replace("days", "$DATA/days"))
    assert "--data.folder $DATA/days" in render_command(plan, plan.commands[0])


REFUSED = {
    "projection": (f"{SMALL} --interaction_type projection", "--interaction_type=projection: puts its own"),
    "no data": (
        "dlrm_main.py --embedding_dim 64",
        "is missing, .* trains on random numbers",
    ),
    "two folders": (
        f"{SMALL} --synthetic_multi_hot_criteo_path x",
        "cannot be combined with --synthetic_multi_hot_criteo_path",
    ),
    "bags of bags": (
        f"dlrm_main.py --synthetic_multi_hot_criteo_path x --multi_hot_sizes {BAGS}",
        "--multi_hot_sizes=.*: makes bags from single ids",
    ),
    "no distribution": (
        f"{SMALL} --multi_hot_sizes {BAGS} --num_embeddings_per_feature {ROWS}",
        "--multi_hot_distribution_type.*: is missing",
    ),
    "no rows": (
        f"{SMALL} --multi_hot_sizes {BAGS} --multi_hot_distribution_type uniform",
        "--num_embeddings_per_feature.*: is missing",
    ),
    "rows": (f"{SMALL} --num_embeddings_per_feature 4,3", "has 2 numbers, but there are 26 categorical columns"),
    "no row": (f"{SMALL} --num_embeddings 0", "--num_embeddings=0: must be at least 1"),
    "bags": (f"{SMALL} --multi_hot_sizes 4,3", "--multi_hot_sizes=4,3: must be 26 numbers"),
    "rank": (f"{SMALL} --interaction_type dcn", "cross_rank=512 must be from 1 to 216"),
    "layers": (f"{SMALL} --embedding_dim 4", "bottom_mlp=.* ends in 8, but must end in embedding_dim=4"),
    "kaggle": (f"{SMALL} --dataset_name criteo_kaggle", "--dataset_name=criteo_kaggle: validates and tests on rows"),
    "dataset": (f"{SMALL} --dataset_name avazu", "--dataset_name=avazu: must be criteo_1t or criteo_kaggle"),
    "batch": (f"{SMALL} --batch_size 0", "--batch_size=0: must be at least 1"),
    "test batch": (f"{SMALL} --test_batch_size -1", "--test_batch_size=-1: must be at least 1"),
    "rate": (f"{SMALL} --learning_rate 0", "--learning_rate=0.0: must be above 0"),
    "eps": (f"{SMALL} --adagrad --eps=-1", "--eps=-1.0: must be 0 or more"),
    "decay": (f"{SMALL} --lr_warmup_steps 9 --lr_decay_steps 4", "is within the warm-up of 9 steps"),
    "warmup": (f"{SMALL} --lr_warmup_steps -1", "--lr_warmup_steps=-1: must be 0"),
    "auroc": (f"{SMALL} --validation_auroc 80", "--validation_auroc=80.0: must be between 0 and 1"),
    "frequency": (
        f"{SMALL} --validation_freq_within_epoch -3",
        "within_epoch=-3: must be at least 1",
    ),
    "unknown": (f"{SMALL} --change_lr", "--change_lr: "),
    "near": (f"{SMALL} --learning-rate 1", "did you mean --learning_rate"),
    "unknown number": (f"{SMALL} --batch_size $((X / 8))", "not a whole number; replace the variable"),
    "separator": (f"{SMALL} --over_arch_layer_sizes 4-1", "'4-1' is not whole numbers, separated by commas"),
    "choice": (f"{SMALL} --interaction_type cat", "invalid choice: 'cat'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_translated_is_refused_with_its_reason(case: str) -> None:
    text, message = REFUSED[case]
    assert re.search(message, refusal(text)), refusal(text)
