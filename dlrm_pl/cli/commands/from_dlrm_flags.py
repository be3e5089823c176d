"""Translate an upstream command line (facebookresearch/dlrm) to an equivalent YAML file and commands."""

from __future__ import annotations

import sys
from pathlib import Path

from dlrm_pl.cli.output import Report


def from_dlrm_flags(command: list[str], output: str | None = None, overwrite: bool = False) -> Report:
    """Translate a command line of upstream's script (facebookresearch/dlrm) to a YAML file and commands.

    Run `from-dlrm-flags [--output FILE.yaml] -- COMMAND LINE` with the command line copied unchanged, including
    `python`, variables and quotes: as words, as one quoted word, or as text on standard input (`-- <<'EOF'`). Flags of
    dlrm_s_pytorch.py, of Intel's variants (dlrm_s_pytorch_tune.py of LPOT, IPEX) and of dlrm_main.py on TorchRec are
    parsed by the rules of their own parsers. The YAML and the commands are printed; what they leave out (flags without
    effect, differences) is printed to standard error. If flags cannot be translated, the exit status is 2, and the
    message names all of them and what to use instead.

    Args:
        command: what follows `--`.
        output: YAML file to write; then only the commands are printed, ready for a shell. By default the YAML is
            printed, with the commands as comments at its end.
        overwrite: replace a different file named ``output``; a file with the same text may always be written again.
    """
    from dlrm_pl.files.atomic import atomic_file
    from dlrm_pl.files.destinations import check_file, holds
    from dlrm_pl.migration.flags.render import commands_of, render_commands, render_notes, render_yaml
    from dlrm_pl.migration.flags.translate import translate

    if not command and not sys.stdin.isatty():
        command = [sys.stdin.read()]
    plan = translate(command, output or "run.yaml")
    text, commands = render_yaml(plan), render_commands(plan)
    if output is None:
        lines = [line if line.startswith("#") else f"#   {line}" for line in commands.splitlines()]
        printed = "\n".join([text, "# Save this as run.yaml, then run:", *lines])
    else:
        path = Path(output)
        check_file(path, overwrite or holds(path, text.encode()), sinks=True)
        with atomic_file(path, sinks=True) as handle:
            handle.write(text)
        printed = commands.removesuffix("\n")

    def show() -> None:
        print(printed)
        print(render_notes(plan), end="", file=sys.stderr)

    notes = [{"flag": flag, "note": note} for flag, note in plan.notes]
    return Report({"output": output, "yaml": text, "commands": commands_of(plan), "notes": notes}, show)
