"""`quantize` as a user runs it: recipes, exit status and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dlrm_pl.artifact.manifest import file_sha256
from tests.support.commands import expect_error, run

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.mark.untraced
def test_quantize_after_load_gives_what_quantize_after_fit_gave(fitted: Path, tmp_path: Path) -> None:
    status = run(
        *("quantize", "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt"),
        *("--output", tmp_path / "again"),
    )
    assert status == 0
    for name in ("model.safetensors",):
        assert file_sha256(tmp_path / "again" / name) == file_sha256(fitted / "artifact" / name)
    # The curves of the training come from the checkpoint.
    assert "125 optimizer steps. AUROC on val: best " in (tmp_path / "again" / "report.html").read_text()


@pytest.mark.untraced
def test_eval_func_by_class_path_decides_which_ops_fall_back(fitted: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((fitted / "config.yaml").read_text())
    config["trainer"]["callbacks"][-1]["init_args"] |= {
        "output": str(tmp_path / "a"),
        "criterion": {"absolute": 0.01},
        "eval_func": {
            "class_path": "tests.support.quantization.eval_funcs.PenaltyForTop",
            "init_args": {"cost": 0.008},
        },
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    checkpoint = ("--ckpt_path", fitted / "run" / "model.ckpt")
    assert run("quantize", "-c", tmp_path / "own.yaml", *checkpoint) == 0
    recipe = json.loads((tmp_path / "a" / "certificate.json").read_text())["recipe"]
    # Two int8 ops cost too much, one does not.
    assert sorted(recipe["top_mlp"]) == ["bf16", "int8"]
    assert set(recipe["tables"]) | set(recipe["bottom_mlp"]) == {"int8"}


@pytest.mark.untraced
def test_tight_tolerance_makes_ops_fall_back(fitted: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((fitted / "config.yaml").read_text())
    # Without variants, so that only falling back helps.
    space = {"observers": ["minmax"], "activation_schemes": ["affine"], "weight_granularities": ["per_channel"]}

    def trials(tolerance: float) -> list[dict[str, Any]]:
        criterion = {"absolute": tolerance, "log_loss": None, "calibration_ratio": None}
        config["trainer"]["callbacks"][-1]["init_args"] |= {"criterion": criterion, "max_trials": 20, "space": space}
        (tmp_path / "tight.yaml").write_text(yaml.safe_dump(config))
        checkpoint = ("--ckpt_path", fitted / "run" / "model.ckpt")
        assert run(
            "quantize", "-c", tmp_path / "tight.yaml", *checkpoint, "--output", tmp_path / "a", "--overwrite"
        ) in (0, 3, 4)
        return [json.loads(line) for line in (tmp_path / "a" / "trials.jsonl").read_text().splitlines()]

    bounds = [trial["bound"] for trial in trials(0.0)]
    assert len(bounds) > 10
    tolerance = max(min(bounds), 0.0) + 1e-9
    # A tolerance that a later recipe meets, and the first, all int8, does not.
    assert bounds[0] > tolerance
    tried = trials(tolerance)
    first = next(number for number, bound in enumerate(bounds) if bound <= tolerance)
    assert [trial["accepted"] for trial in tried] == [False] * first + [True]
    recipe = tried[-1]["recipe"]
    assert {"bf16", "fp16", "fp32"} & {*recipe["bottom_mlp"], *recipe["top_mlp"], *recipe["tables"]}


def test_rows_that_cannot_tell_give_status_4_and_save_the_best(
    fitted: Path, synthetic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(
        *("quantize", "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt"),
        *("--output", tmp_path / "best", "--absolute", 0, "--max_trials", 2),
    )
    assert status == 4
    assert json.loads((tmp_path / "best" / "manifest.json").read_text())["accepted"] is False
    result = json.loads((tmp_path / "best" / "result.json").read_text())
    assert (result["outcome"], result["accepted"]) == ("undecided", False)
    assert result["rows_needed"] > 2000
    assert (
        f"UNDECIDED: 2,000 test rows are too few to decide; about {result['rows_needed']:,} would"
        in capsys.readouterr().out
    )
    assert run("verify", "--artifact", tmp_path / "best", "--data", synthetic_folder) == 0
    assert "certified as UNDECIDED: 2,000 test rows are too few" in capsys.readouterr().out


@pytest.mark.untraced
def test_damaged_rows_are_quantized_only_when_allowed(
    capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path
) -> None:
    checkpoint = torch.load(fitted / "run" / "model.ckpt", weights_only=True)
    checkpoint["state_dict"]["model.embedding_bags.tables.3.weight"][:2, 1] = float("nan")
    torch.save(checkpoint, tmp_path / "damaged.ckpt")
    arguments = ("quantize", "-c", fitted / "config.yaml", "--ckpt_path", tmp_path / "damaged.ckpt")
    output = ("--output", tmp_path / "artifact")
    expect_error(capsys, r"table 3: 2 of [\d,]+ rows, the first is row 0.*allow_nonfinite", *arguments, *output)
    assert not (tmp_path / "artifact").exists()
    assert run(*arguments, *output, "--allow_nonfinite", "true") in (0, 3, 4)
    manifest = json.loads((tmp_path / "artifact" / "manifest.json").read_text())
    assert manifest["nonfinite_rows"] == {"tables.3": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "bayesan"}, r"no strategy 'bayesan'\. Did you mean bayesian\? The strategies are basic"),
        pytest.param(
            *({"strategy": "nonsense"}, r"There is no strategy 'nonsense'\. The strategies are .*basic.*budget"),
            marks=pytest.mark.slow,
        ),
        ({"max_trials": 0}, r"max_trials=0 must be at least 1"),
    ],
)
def test_setting_of_a_callback_that_it_refuses(
    capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    """One message, rather than the parser's, which lists all types and values."""
    config = yaml.safe_load((fitted / "config.yaml").read_text())
    config["trainer"]["callbacks"][-1]["init_args"] |= changes
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    for command in ("fit", "quantize"):
        checkpoint = ("--ckpt_path", fitted / "run" / "model.ckpt")
        expect_error(capsys, message, command, "-c", tmp_path / "config.yaml", *checkpoint)
