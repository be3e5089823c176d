"""The meanings of the flags, including upstream's traps; each case follows upstream's code."""

from __future__ import annotations

import pytest

from dlrm_pl.migration.flags.render import render_command, render_notes, render_yaml
from dlrm_pl.migration.flags.translate import translate
from tests.support.flags import IPEX, LOADED, MAIN, TUNE, callbacks, commands, config, notes, plan_of, refusal


def test_absent_flags_have_the_defaults_of_the_reference() -> None:
    got = config(MAIN)
    assert got["seed_everything"] == 123
    assert got["model"] == {
        "embedding_dim": 2,
        "bottom_mlp": [0, 3, 2],  # "4-3-2" with a dataset's input.
        "top_mlp": [4, 2, 1],
        "interaction": "dot",
        "self_interaction": False,
        "loss": "mse",
        "loss_threshold": 0.0,
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "lr_num_warmup_steps": 0,
        "lr_decay_start_step": 0,
        "lr_num_decay_steps": 0,
    }
    data = got["data"]
    assert (data["batch_size"], data["eval_batch_size"], data["shuffle"], data["max_ind_range"]) == (1, 1, "none", -1)
    trainer = got["trainer"]
    assert (trainer["max_epochs"], trainer["log_every_n_steps"], trainer["accelerator"]) == (1, 1, "cpu")


def test_each_value_names_its_flag_and_defaults_are_marked() -> None:
    lines = render_yaml(plan_of(MAIN, "--learning-rate=0.5")).splitlines()
    assert any("learning_rate: 0.5" in line and line.endswith("# --learning-rate") for line in lines)
    assert any("loss: mse" in line and line.endswith("# --loss-function (default)") for line in lines)


@pytest.mark.parametrize("generation", ["", "--data-generation=random", "--data-generation=synthetic"])
def test_random_data_is_refused_even_where_a_file_is_given(generation: str) -> None:
    text = refusal("dlrm_s_pytorch.py --raw-data-file=d/day", generation)
    assert "trains on random numbers, although --raw-data-file=d/day is given" in text
    assert "Add --data-generation=dataset" in text
    assert ("(the default)" in text) == (not generation)


def test_all_refused_flags_are_named_at_once() -> None:
    text = refusal("dlrm_s_pytorch.py --qr-flag --md-flag --save-onnx --optimizer=ftrl")
    for name in ("--qr-flag", "--md-flag", "--save-onnx", "--optimizer=ftrl"):
        assert f"\n  {name}: " in text
    assert "\n  --data-generation=random (the default): " in text
    assert "\n  --raw-data-file (the default): names no data" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--data-generation=internal", "Facebook's internal data"),
        ("--data-set=avazu", "must be kaggle or terabyte"),
        ("--loss-function=hinge", "must be mse, bce or wbce"),
        ("--loss-function=wbce --loss-weights=1.0", "must be two numbers"),
        ("--loss-threshold=0.5", "Give a value below 0.5"),
        ("--arch-sparse-feature-size=8", "must end in embedding_dim=8"),
        ("--arch-mlp-top=4-2", "must end in 1"),
        ("--arch-mlp-bot=13-0-2", "must be a whole number of at least 1"),
        ("--learning-rate=0", "must be above 0"),
        ("--optimizer=adam", "must be sgd, adagrad or rwsadagrad, as in upstream. To use Adam"),
        ("--lr-num-warmup-steps=9 --lr-decay-start-step=5 --lr-num-decay-steps=3", "is within the warm-up of 9"),
        ("--lr-num-decay-steps=-3", "must be 0 (off) or more"),
        ("--mini-batch-size=0", "must be at least 1"),
        ("--test-mini-batch-size=0", "must be at least 1"),
        ("--print-freq=0", "must be at least 1"),
        ("--num-workers=-1", "must be 0 or more"),
        ("--data-sub-sample-rate=1.5", "subsample_rate=1.5"),
        ("--max-ind-range=9999999999", "max_ind_range=9999999999"),
        ("--dist-backend=smoke", "must be one of gloo"),
        ("--mlperf-logging --mlperf-grad-accum-iter=0", "must be at least 1"),
        ("--mlperf-logging --test-freq=5 --mlperf-acc-threshold=0.7", "accuracy is not computed here"),
        ("--inference-only", "random weights without --load-model"),
        ("--inference-only --load-model=m.pt --quantize-mlp-with-bit=4", "must be 8, 16, 32"),
        ("--inference-only --load-model=m.pt --quantize-emb-with-bit=16", "must be 4, 8, 32"),
    ],
)
def test_value_that_cannot_be_translated_is_refused(flags: str, message: str) -> None:
    assert message in refusal(MAIN, flags)


def test_round_targets_is_named_as_true_whatever_is_given() -> None:
    text = notes(MAIN, "--round-targets=False")["--round-targets=True"]
    assert "random data" in text
    assert "means True, even False" in text


BIN = "--mlperf-bin-loader --mlperf-bin-shuffle"


@pytest.mark.parametrize(
    ("flags", "shuffle", "missing"),
    [
        ("--mlperf-logging --memory-map --data-set=terabyte", "batch", ""),
        ("--memory-map --data-set=terabyte", "none", "without --mlperf-logging;"),
        ("--mlperf-logging --data-set=terabyte", "none", "without --memory-map;"),
        ("--mlperf-logging --memory-map", "none", "without --data-set=terabyte;"),
        ("", "none", "without --mlperf-logging and --memory-map and --data-set=terabyte;"),
    ],
)
def test_binary_loader_is_honoured_under_its_three_conditions(flags: str, shuffle: str, missing: str) -> None:
    assert config(MAIN, BIN, flags)["data"]["shuffle"] == shuffle
    said = notes(MAIN, BIN, flags)
    assert missing in said.get("--mlperf-bin-loader", "")
    assert ("--mlperf-bin-shuffle" in said) == bool(missing)


def test_ipex_variant_honours_the_binary_loader_without_logging() -> None:
    assert config(IPEX, BIN, "--memory-map --data-set=terabyte")["data"]["shuffle"] == "batch"
    assert config(IPEX, BIN, "--memory-map")["data"]["shuffle"] == "none"


def test_workers_are_those_of_train_and_ignored_by_the_terabyte_loaders() -> None:
    assert config(MAIN, "--num-workers=3")["data"]["num_workers"] == 3
    terabyte = "--num-workers=3 --mlperf-logging --memory-map --data-set=terabyte"
    assert config(MAIN, terabyte)["data"]["num_workers"] == 0
    assert "--num-workers=3" in notes(MAIN, terabyte)


@pytest.mark.parametrize("every", ["", "--test-freq=0", "--test-freq=-1"])
def test_without_test_frequency_nothing_is_tested_and_it_is_said_that_nothing_was_saved(every: str) -> None:
    flags = f"{every} --save-model=m/model.pt"
    trainer = config(MAIN, flags)["trainer"]
    assert trainer["limit_val_batches"] == 0
    assert "val_check_interval" not in trainer
    assert callbacks(MAIN, flags)["ModelCheckpoint"] == {
        "dirpath": "m",
        "filename": "model",
        "enable_version_counter": False,
    }
    assert "upstream saves only when it tests" in notes(MAIN, flags)["--save-model=m/model.pt"]
    assert commands(MAIN, flags)[-1] == "fit -c run.yaml"


def test_test_frequency_validates_keeps_the_best_and_tests_at_the_end() -> None:
    flags = "--test-freq=7 --save-model=best.pt"
    assert config(MAIN, flags)["trainer"]["val_check_interval"] == 7
    best = callbacks(MAIN, flags)["ModelCheckpoint"]
    assert (best["dirpath"], best["filename"], best["monitor"], best["mode"]) == (".", "best", "val_auroc", "max")
    assert commands(MAIN, flags)[1:] == ["fit -c run.yaml", "test -c run.yaml --ckpt_path ./best.ckpt"]


def test_number_of_batches_cuts_training_and_tests() -> None:
    trainer = config(MAIN, "--num-batches=10 --test-freq=5")["trainer"]
    limits = [trainer[f"limit_{split}_batches"] for split in ("train", "val", "test")]
    assert (limits, trainer["val_check_interval"]) == ([10, 10, 10], 5)
    # Less often than there are batches: validates after the last one, like upstream.
    assert config(MAIN, "--num-batches=10 --test-freq=50")["trainer"]["val_check_interval"] == 1.0
    assert "limit_train_batches" not in config(MAIN, "--num-batches=0")["trainer"]
    assert config(MAIN, "--num-batches=10")["trainer"]["limit_val_batches"] == 0  # Still never tests.


@pytest.mark.parametrize(
    ("flags", "interval"),
    [
        ("--should-test", 0.05),
        ("--should-test --test-freq=9", 9),
        ("--test-freq=9", None),
        ("--should-test --test-freq=0", None),
    ],
)
def test_ipex_variant_tests_when_it_should(flags: str, interval: float | None) -> None:
    assert config(IPEX, flags)["trainer"].get("val_check_interval") == interval


def test_ipex_variant_has_cross_entropy_and_dot_alone() -> None:
    model = config(IPEX)["model"]
    assert (model["loss"], model["interaction"], model["optimizer"]) == ("bce", "dot", "sgd")


def test_evaluation_batch_is_that_of_training_unless_given() -> None:
    assert config(MAIN, "--mini-batch-size=64")["data"]["eval_batch_size"] == 64
    assert config(MAIN, "--mini-batch-size=64 --test-mini-batch-size=512")["data"]["eval_batch_size"] == 512


def test_schedule_and_its_traps() -> None:
    flags = "--lr-num-warmup-steps=5 --lr-decay-start-step=9 --lr-num-decay-steps=4"
    model = config(MAIN, flags)["model"]
    assert [model[f"lr_{name}"] for name in ("num_warmup_steps", "decay_start_step", "num_decay_steps")] == [5, 9, 4]
    assert "upstream exits" in notes(MAIN, "--lr-num-warmup-steps=5")["--lr-num-warmup-steps=5"]
    fails = "--lr-decay-start-step=9 --lr-num-decay-steps=4"
    assert "fails without a warm-up" in notes(MAIN, fails)["--lr-decay-start-step=9"]
    assert "lr_num_warmup_steps" not in config(TUNE)["model"]


def test_threshold_stops_only_where_the_reference_looks_at_it() -> None:
    flags = "--mlperf-auc-threshold=0.8"
    assert "EarlyStopping" not in callbacks(MAIN, flags, "--test-freq=5")
    assert "EarlyStopping" not in callbacks(MAIN, flags, "--mlperf-logging")
    assert "only stops upstream with" in notes(MAIN, flags, "--mlperf-logging")["--mlperf-auc-threshold=0.8"]
    stopping = callbacks(MAIN, flags, "--test-freq=5 --mlperf-logging")["EarlyStopping"]
    assert (stopping["monitor"], stopping["stopping_threshold"], stopping["mode"]) == ("val_auroc", 0.8, "max")
    said = notes(MAIN, flags, "--test-freq=5 --mlperf-logging")["--mlperf-auc-threshold=0.8"]
    assert "forgets the best AUROC after each test and never stops" in said


def test_accumulation_is_said_to_throw_gradients_away() -> None:
    flags = "--mlperf-grad-accum-iter=4"
    assert "accumulate_grad_batches" not in config(MAIN, flags)["trainer"]
    assert "only with --mlperf-logging" in notes(MAIN, flags)["--mlperf-grad-accum-iter=4"]
    assert config(MAIN, flags, "--mlperf-logging")["trainer"]["accumulate_grad_batches"] == 4
    assert "only those of every 4th batch" in notes(MAIN, flags, "--mlperf-logging")["--mlperf-grad-accum-iter=4"]


def test_mlperf_log_is_written_by_trainings_of_the_main_script_alone() -> None:
    flags = "--mlperf-logging --mlperf-auc-threshold=0.8 --test-freq=5"
    assert callbacks(MAIN, flags)["MLPerfLogging"] == {"path": "runs/kaggle/mlperf.log", "auroc_threshold": 0.8}
    assert "MLPerfLogging" not in callbacks(TUNE, flags)
    assert "MLPerfLogging" not in callbacks(MAIN, flags, "--inference-only", LOADED)


@pytest.mark.parametrize("flags", ["", "--mlperf-auc-threshold=-1", "--mlperf-auc-threshold=1.5"])
def test_mlperf_log_keeps_the_target_of_the_rules_where_no_auroc_is_to_be_reached(flags: str) -> None:
    assert callbacks(MAIN, "--mlperf-logging", flags)["MLPerfLogging"] == {"path": "runs/kaggle/mlperf.log"}


def test_weights_of_classes_are_used_with_wbce() -> None:
    assert config(MAIN, "--loss-function=wbce --loss-weights=1.0-5.0")["model"]["loss_weights"] == [1.0, 5.0]
    assert "loss_weights" not in config(MAIN, "--loss-weights=1.0-5.0")["model"]
    assert "only used with --loss-function=wbce" in notes(MAIN, "--loss-weights=1.0-5.0")["--loss-weights=1.0-5.0"]


@pytest.mark.parametrize(("given", "value"), [("1e-7", 1e-7), ("0.25", 0.25), ("1.0", 0.0), ("3", 0.0), ("-1", 0.0)])
def test_loss_threshold_is_on_between_0_and_1(given: str, value: float) -> None:
    assert config(MAIN, f"--loss-threshold={given}")["model"]["loss_threshold"] == value


def test_rowwise_adagrad_is_translated_as_it_is() -> None:
    assert config(MAIN, "--optimizer=rwsadagrad")["model"]["optimizer"] == "rwsadagrad"
    assert "Adagrad for the MLPs" in notes(MAIN, "--optimizer=rwsadagrad")["--optimizer=rwsadagrad"]
    assert "here it trains" in notes(MAIN, "--optimizer=adagrad --use-gpu")["--optimizer=adagrad"]


@pytest.mark.parametrize(("flag", "instead"), [("--qr-flag", "lower --max-ind-range"), ("--md-flag", "`quantize`")])
def test_smaller_tables_of_upstream_are_refused_with_what_to_use_instead(flag: str, instead: str) -> None:
    assert instead in refusal(MAIN, flag)


@pytest.mark.parametrize(("word", "value"), [("fixed", "fixed"), ("learned", "learned"), ("any", "learned")])
def test_weighted_pooling_is_learned_unless_it_is_fixed(word: str, value: str) -> None:
    """Upstream only compares with "fixed"."""
    assert config(MAIN, f"--weighted-pooling={word}")["model"]["weighted_pooling"] == value


def test_seed_is_that_of_everything() -> None:
    got = config(MAIN, "--numpy-rand-seed=9")
    assert (got["seed_everything"], got["data"]["seed"]) == (9, 9)


def test_folder_with_a_variable_is_handed_over_by_the_shell() -> None:
    words = ["--data-generation=dataset", "--raw-data-file=$d/day", "--save-model=${out}/m.pt"]
    plan = translate(words, "run.yaml")
    assert render_command(plan, plan.commands[-1]).endswith("--data.folder $d/kaggleAdDisplayChallenge_processed")
    assert "${out}: is written into the YAML, where shell variables have no meaning" in render_notes(plan)


def test_artifact_with_a_variable_is_handed_over_by_the_shell() -> None:
    flags = "--tune --inference-only --load-model=m.pt --save-model=${out}"
    plan = plan_of(IPEX, flags)
    assert render_command(plan, plan.commands[-1]).endswith("quantize -c run.yaml --ckpt_path m.ckpt --output ${out}")
    assert callbacks(IPEX, flags)["ModelCheckpoint"]["dirpath"] == "runs/kaggle"
    assert "${out}: is written into the YAML" not in render_notes(plan)


def test_environment_in_front_stands_in_front_of_the_commands() -> None:
    plan = translate(f"OMP_NUM_THREADS=4 python {MAIN}".split(), "run.yaml")
    assert render_command(plan, plan.commands[-1]) == "OMP_NUM_THREADS=4 python cli.py fit -c run.yaml"


def test_words_are_quoted_for_a_shell() -> None:
    plan = translate(
        ["--data-generation=dataset", "--raw-data-file=a b/day", "--processed-data-file=$x y.npz"], "r.yaml"
    )
    assert "--raw 'a b/day' --output \"$x y_dataset\"" in render_command(plan, plan.commands[0])


def test_gpu_and_processes_of_a_launcher() -> None:
    assert config(MAIN, "--use-gpu")["trainer"]["accelerator"] == "gpu"
    flags = "--use-gpu --mini-batch-size=2048 --test-mini-batch-size=16384 --dist-backend=nccl"
    launched = f"torchrun --nproc_per_node=8 {MAIN}"
    got = config(launched, flags)
    assert got["trainer"]["devices"] == 8
    assert got["trainer"]["strategy"]["init_args"] == {"process_group_backend": "nccl"}
    assert (got["data"]["batch_size"], got["data"]["eval_batch_size"]) == (256, 2048)
    assert "is not divisible by 8 processes" in refusal(launched, "--mini-batch-size=2047")
    assert config(MAIN, flags)["trainer"]["devices"] == 1
    assert "the command line has no launcher" in notes(MAIN, flags)["--dist-backend=nccl"]


def test_gloo_takes_the_place_of_backends_that_torch_is_not_built_with() -> None:
    got = config(f"mpirun -np 2 python {MAIN}", "--dist-backend=ccl --mini-batch-size=2")
    assert got["trainer"]["strategy"]["init_args"] == {"process_group_backend": "gloo"}


def test_abbreviations_are_said() -> None:
    assert notes(MAIN, "--learning=0.5")["--learning"] == "is read as --learning-rate, as upstream does"
