"""Commands of the upstream scripts, and parts of their translations."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.flags.plan import Plan
from dlrm_pl.migration.flags.render import render_command, render_yaml
from dlrm_pl.migration.flags.translate import translate

DATA = "--data-generation=dataset --raw-data-file=d/day"


MAIN = f"dlrm_s_pytorch.py {DATA}"


TUNE = f"dlrm_s_pytorch_tune.py {DATA}"


IPEX = "dlrm_s_pytorch.py --ipex-interaction --raw-data-file=d/day"


LOADED = "--load-model=m.pt"


def plan_of(*parts: str) -> Plan:
    return translate(" ".join(parts).split(), "run.yaml")


def config(*parts: str) -> dict[str, Any]:
    """Return the YAML as any parser reads it."""
    return yaml.safe_load(render_yaml(plan_of(*parts)))  # type: ignore[no-any-return]


def commands(*parts: str) -> list[str]:
    plan = plan_of(*parts)
    return [render_command(plan, command).removeprefix("python cli.py ") for command in plan.commands]


def notes(*parts: str) -> dict[str, str]:
    return dict(plan_of(*parts).notes)


def callbacks(*parts: str) -> dict[str, dict[str, Any]]:
    found = config(*parts)["trainer"]["callbacks"]
    return {entry["class_path"].rsplit(".", 1)[1]: entry.get("init_args", {}) for entry in found}


def refusal(*parts: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        plan_of(*parts)
    return str(error.value)
