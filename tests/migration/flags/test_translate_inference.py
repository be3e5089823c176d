"""Loaded models, scoring alone, and quantization by the upstream scripts."""

from __future__ import annotations

import pytest

from tests.support.flags import IPEX, LOADED, MAIN, TUNE, callbacks, commands, notes


def test_loaded_model_is_imported_and_training_continues() -> None:
    assert commands(MAIN, "--load-model=m/x.pt")[1:] == [
        "import-checkpoint --upstream m/x.pt --output m/x.ckpt --data d/kaggleAdDisplayChallenge_processed",
        "fit -c run.yaml --ckpt_path m/x.ckpt",
    ]
    assert commands(MAIN, "--load-model=${model_path} --inference-only")[2] == (
        "test -c run.yaml --ckpt_path ${model_path}.ckpt"
    )


def test_import_is_told_what_the_reference_does_not_save() -> None:
    flags = "--arch-interaction-op=cat --arch-interaction-itself --loss-threshold=0.01"
    assert commands(MAIN, LOADED, flags)[1].endswith("--interaction cat --self_interaction true --loss_threshold 0.01")


def test_inference_only_tests() -> None:
    assert commands(MAIN, LOADED, "--inference-only")[-1] == "test -c run.yaml --ckpt_path m.ckpt"
    assert commands(IPEX, LOADED, "--accuracy_only")[-1] == "test -c run.yaml --ckpt_path m.ckpt"


@pytest.mark.parametrize(
    ("flags", "linears", "tables"),
    [
        ("--quantize-mlp-with-bit=8", "int8", "fp32"),
        ("--quantize-mlp-with-bit=16", "bf16", "fp32"),
        ("--quantize-emb-with-bit=4", "fp32", "int4"),
        ("--quantize-mlp-with-bit=8 --quantize-emb-with-bit=8", "int8", "int8"),
    ],
)
def test_bits_become_a_recipe_with_inference_only(flags: str, linears: str, tables: str) -> None:
    arguments = callbacks(MAIN, LOADED, "--inference-only", flags)["QuantizationCallback"]
    assert arguments["recipe"] == {"linears": linears, "tables": tables, "interaction": "fp32"}
    assert arguments["max_trials"] == 1
    assert commands(MAIN, LOADED, "--inference-only", flags)[-1] == "quantize -c run.yaml --ckpt_path m.ckpt"
    assert "QuantizationCallback" not in callbacks(MAIN, flags)
    assert all("ignored by upstream without --inference-only" in text for text in notes(MAIN, flags).values())


def test_tune_has_the_settings_of_the_seed() -> None:
    assert callbacks(TUNE, LOADED, "--tune")["QuantizationCallback"] == {
        "output": "./saved_results",
        "recipe": {"linears": "int8", "tables": "fp32"},
        "criterion": {"relative": 0.01},
        "strategy": "basic",
        "timeout_s": 0.0,
        "seed": 9527,
    }
    assert callbacks(TUNE, LOADED, "--tune --tuned_checkpoint=a/b")["QuantizationCallback"]["output"] == "a/b"
    ipex = callbacks(IPEX, LOADED, "--tune --inference-only --save-model=out")["QuantizationCallback"]
    assert ipex["output"] == "out"


def test_benchmark_of_int8_is_of_the_artifact_and_the_defect_is_said() -> None:
    flags = f"{LOADED} --benchmark --int8 --test-mini-batch-size=16384"
    assert commands(TUNE, flags)[-1] == (
        "benchmark --artifact ./saved_results --ckpt_path m.ckpt --data d/kaggleAdDisplayChallenge_processed "
        "--batch_sizes '[16384]'"
    )
    assert "fp32 was benchmarked" in notes(TUNE, flags)["--int8"]
    assert "fp32 was benchmarked" not in notes(TUNE, flags, "--do-int8-inference")["--int8"]
    assert "QuantizationCallback" not in callbacks(TUNE, flags)


def test_tune_and_benchmark_together_do_both_and_say_that_the_reference_does_not() -> None:
    words = [command.split()[0] for command in commands(TUNE, LOADED, "--tune --int8 --benchmark")]
    assert words == ["preprocess", "import-checkpoint", "quantize", "benchmark"]
    assert "upstream ends after --tune" in notes(TUNE, LOADED, "--tune --benchmark")["--benchmark"]


def test_quantization_by_hand_has_one_scale_a_matrix() -> None:
    flags = "--do-int8-inference --inference-only --save-int8=q/int8.pt --per-tensor-linear"
    arguments = callbacks(TUNE, LOADED, flags)["QuantizationCallback"]
    assert arguments["output"] == "q/int8"
    assert arguments["recipe"] == {"linears": "int8", "tables": "fp32", "weight_granularity": "per_tensor"}
    assert "is ignored by upstream" in notes(TUNE, "--do-int8-inference")["--do-int8-inference"]


def test_ipex_scores_and_times_its_int8_model() -> None:
    flags = f"{LOADED} --inference-only --int8 --save-model=out"
    assert commands(IPEX, flags)[-1].startswith("verify --artifact out --data ")
    timed = commands(IPEX, flags, "--share-weight-instance=4 --num-cpu-cores=2")[-1]
    assert timed.startswith("benchmark --artifact out ")
    assert timed.endswith("--batch_sizes '[1]' --threads '[2]'")


def test_tune_script_trains_on_test_rows_and_it_is_said() -> None:
    assert "upstream trains on the test rows" in notes(TUNE)["dlrm_s_pytorch_tune.py"]
    assert "dlrm_s_pytorch_tune.py" not in notes(TUNE, LOADED, "--tune")
