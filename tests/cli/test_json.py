"""`--json` prints one document; `-q` and `-v` reduce and increase the other output."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrm_pl.cli.output import Report, Verbosity, plain, take_verbosity
from dlrm_pl.errors import VerificationError
from tests.docs.pages import ROOT
from tests.support.commands import run

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    """Restore the log levels."""
    names = ("dlrm_pl", "pytorch_lightning", "lightning_fabric")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def document(capsys: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path) -> Any:
    """Return a function that runs a command with --json and parses its output."""
    places = {
        "CONFIG": fitted / "config.yaml",
        "CKPT": fitted / "run" / "model.ckpt",
        "DATA": synthetic_folder,
        "ARTIFACT": fitted / "artifact",
        "OUT": tmp_path,
    }

    def read(command: str, status: int = 0) -> Any:
        for place, path in places.items():
            command = command.replace(place, str(path))
        assert run(*command.split()) == status
        return json.loads(capsys.readouterr().out)

    return read


def documented(heading: str) -> set[str]:
    """Return the fields in the first column of a table of docs/cli.md."""
    page = (ROOT / "docs" / "cli.md").read_text()
    section = page.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    cells = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_light_commands_report_as_json(document: Any, tmp_path: Path, synthetic_folder: Path) -> None:
    made = document("synthesize --output OUT/clicks --rows 500 --max_table_size 50 --json")
    assert made["path"] == str(tmp_path / "clicks")
    assert sum(made["rows"].values()) == 500
    assert document("configs list --json")["configs"][0].keys() == {"name", "path", "summary"}
    assert len(document("configs copy --output OUT/configs --json")["files"]) > 5
    raw = document("synthesize --output OUT/raw --rows 400 --days 2 --max_table_size 50 --format raw --json")
    assert raw["table_rows"] == 0
    assert made.keys() == raw.keys() == documented("`synthesize`")
    processed = document("preprocess --raw OUT/raw/day --output OUT/processed --json")
    assert processed["splits"].keys() == {"train", "val", "test"}
    assert processed.keys() == documented("`preprocess`")
    assert len(processed["table_sizes"]) == 26
    flags = document(
        "from-dlrm-flags --json -- --arch-sparse-feature-size=16 --arch-mlp-bot=13-512-16 --arch-mlp-top=512-1 "
        "--data-generation=dataset --raw-data-file=day --processed-data-file=x.npz"
    )
    assert flags.keys() == documented("`from-dlrm-flags`")


def test_inspect_reports_as_json(document: Any) -> None:
    dataset, checkpoint, artifact = (document(f"inspect {path} --json") for path in ("DATA", "CKPT", "ARTIFACT"))
    assert [one["kind"] for one in (dataset, checkpoint, artifact)] == ["dataset", "checkpoint", "artifact"]
    for described in (dataset, checkpoint, artifact):
        article = "an" if described["kind"] == "artifact" else "a"
        assert described.keys() == documented(f"`inspect` of {article} {described['kind']}")
    assert dataset["splits"]["train"]["rows"] > 0
    assert checkpoint["architecture"]["bottom_mlp"] == [13, 16, 8]
    assert len(checkpoint["tables"]) == len(dataset["table_sizes"])
    assert artifact["accepted"] is True
    assert artifact["certificate"]["accepted"] is True
    assert artifact["ops"]["bottom_mlp.0"] == "int8"
    assert "checksums" in artifact["checked"]


def test_commands_on_an_artifact_report_as_json(document: Any, tmp_path: Path) -> None:
    verified = document("verify --artifact ARTIFACT --data DATA --json")
    assert verified.keys() == documented("`verify`")
    assert verified["outcome"] == "accepted"
    assert verified["int8"]["auroc"] == pytest.approx(verified["certificate"]["int8"]["auroc"], abs=1e-6)
    predicted = document("predict --artifact ARTIFACT --data DATA --output OUT/p.csv --json")
    assert predicted["output"] == str(tmp_path / "p.csv")
    assert predicted.keys() == documented("`predict`")
    assert predicted["rows"] >= verified["rows"]
    card = document("card ARTIFACT --json")
    assert card.keys() == documented("`card`")
    assert (card["outcome"], card["output"]) == ("accepted", None)
    timed = document("benchmark --artifact ARTIFACT --batch_sizes [1] --threads [1] --seconds 0.01 --json")
    assert timed["output"] is None
    assert timed.keys() == documented("`benchmark`")
    exported = document("export-tables --ckpt_path CKPT --output OUT/tables --json")
    assert exported["bits"] == 8
    assert exported.keys() == documented("`export-tables`")
    assert exported["bytes"] > 0


def test_commands_of_the_trainer_report_as_json(document: Any, tmp_path: Path) -> None:
    scored = document("test -c CONFIG --ckpt_path CKPT --json")
    assert scored["split"] == "test"
    assert scored.keys() == documented("`validate` and `test`")
    assert 0.5 < scored["metrics"]["test_auroc"] < 1
    predicted = document("predict -c CONFIG --ckpt_path CKPT --output OUT/p.npy --json")
    assert predicted["rows"] == len(np.load(tmp_path / "p.npy"))
    assert predicted.keys() == documented("`predict`") - {"unseen_values", "cut_lists"}
    fit = "fit -c CONFIG --trainer.callbacks [] --trainer.default_root_dir OUT/run --trainer.max_steps 2 --json"
    trained = document(fit)
    assert trained["global_step"] == 2
    assert Path(trained["checkpoints"][0]).is_file()
    assert trained["quantized"] == []
    assert trained.keys() == documented("`fit`")
    made = document("quantize -c CONFIG --ckpt_path CKPT --output OUT/int8 --json")
    assert made["outcome"] == "accepted"
    assert made.keys() == documented("`quantize`")
    assert made["certificate"]["trials"] >= 1


def test_quiet_tells_the_result_alone_and_verbose_the_traceback(
    capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path
) -> None:
    command = ("validate", "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    assert run(*command, "-q") == 0
    quiet = capsys.readouterr()
    assert "val_auroc" in quiet.out
    assert quiet.err == ""
    assert logging.getLogger("dlrm_pl").level == logging.WARNING
    assert run("inspect", tmp_path / "nothing", "-v") == 2
    error = capsys.readouterr().err
    assert "error: " in error
    assert logging.getLogger("dlrm_pl").level == logging.DEBUG
    assert run("inspect", tmp_path / "nothing") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_options_of_every_command_are_taken_wherever_they_stand() -> None:
    assert take_verbosity(["-q", "inspect", "x", "--json"]) == (["inspect", "x"], Verbosity(quiet=True, json=True))
    assert take_verbosity(["from-dlrm-flags", "-v", "--", "-q"]) == (
        ["from-dlrm-flags", "--", "-q"],
        Verbosity(verbose=True),
    )


def test_values_become_what_json_has() -> None:
    values = {"a": np.float32(0.5), "b": float("nan"), 3: (Path("x"), None), "c": np.arange(2), "d": {1}}
    assert plain(values | {"c": np.int64(2)}) == {"a": 0.5, "b": None, "3": ["x", None], "c": 2, "d": [1]}
    assert plain(Verbosity(quiet=True)) == {"quiet": True, "verbose": False, "json": False}
    assert plain(slice(2)) == "slice(None, 2, None)"


def test_report_is_printed_before_the_error_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report({"valid": False}, "not valid", VerificationError("no"))
    for as_json, text in ((True, '{\n  "valid": false\n}\n'), (False, "not valid\n")):
        with pytest.raises(VerificationError, match="no"):
            report.print(as_json)
        assert capsys.readouterr().out == text
