"""The names that the package and its folders export all exist, and each is imported at first use."""

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
from jsonargparse import ArgumentParser
from pytorch_lightning import LightningDataModule

import dlrm_pl

PACKAGE = Path(__file__).parents[1] / "dlrm_pl"
EXPORTING = sorted(".".join(stub.parent.relative_to(PACKAGE.parent).parts) for stub in PACKAGE.rglob("__init__.pyi"))


def test_the_package_and_its_main_folders_export_names() -> None:
    assert {"dlrm_pl", "dlrm_pl.data", "dlrm_pl.model", "dlrm_pl.quantization"} <= set(EXPORTING)


@pytest.mark.parametrize("package", EXPORTING)
def test_every_public_name_can_be_imported(package: str) -> None:
    module = import_module(package)
    assert sorted(module.__all__) == sorted(dir(module))
    for name in module.__all__:
        # A file of the folder with the same name would replace the name once it is imported.
        assert not isinstance(getattr(module, name), ModuleType)
        assert not (Path(*module.__path__) / f"{name}.py").exists()
        assert not (Path(*module.__path__) / name).exists()


def test_the_types_in_public_signatures_have_names() -> None:
    wanted = {
        "artifact": {"Drift", "Manifest", "Verification"},
        "data": {"Batches", "ClickLoader", "PreprocessReport", "Splits", "SyntheticReport", "Vocabulary"},
        "metrics": {"PairedDifference"},
        "model": {"CheckpointContract"},
        "quantization": {"CertifiedGuard", "CertifiedSlice", "EvalFunc", "LatencyTimer", "Scores", "Trial", "Verdict"},
        "runtime": {"Int8DLRM"},
    }
    assert {folder: names - set(import_module(f"dlrm_pl.{folder}").__all__) for folder, names in wanted.items()} == {
        folder: set() for folder in wanted
    }


@pytest.mark.parametrize("package", EXPORTING)
def test_a_package_is_imported_without_what_it_exports(package: str) -> None:
    program = f"import sys, {package}; assert not {{'torch', 'numpy', 'pytorch_lightning'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=250)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="No dlrm_pl attribute nothing"):
        _ = dlrm_pl.nothing


def test_the_earlier_name_of_the_data_module_still_works(tmp_path: Path) -> None:
    dlrm_pl.synthesize(tmp_path / "data", rows=100)
    assert dlrm_pl.TerabyteDataModule is dlrm_pl.DLRMDataModule
    parser = ArgumentParser()
    parser.add_subclass_arguments(LightningDataModule, "data")
    for name in ("DLRMDataModule", "TerabyteDataModule"):
        stated = {"class_path": f"dlrm_pl.{name}", "init_args": {"folder": str(tmp_path / "data")}}
        made = parser.instantiate_classes(parser.parse_object({"data": stated}))
        assert type(made.data) is dlrm_pl.DLRMDataModule


def test_the_version_is_that_of_the_installed_package() -> None:
    assert dlrm_pl.__version__ == version("dlrm-pl")
