"""Command line: find the command, run it, and turn its errors into one message and an exit status.

Exit status: 0 success; 2 usage or input error; 3 ``quantize`` found no model within tolerance; 4 too few test
rows to decide; 130 interrupted; 141 output pipe closed, see ``entry``.
"""

from __future__ import annotations

import difflib
import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from dlrm_pl.cli import garbage
from dlrm_pl.cli.arguments.names import with_data_settings, with_present_names
from dlrm_pl.cli.command_table import LIGHT, ORDER, PREDICT_WITH_ARTIFACT, TRAINER
from dlrm_pl.cli.output import Report, Verbosity, take_verbosity
from dlrm_pl.errors import ConfigurationError, DLRMError
from dlrm_pl.program import (
    EXIT_INTERRUPTED,
    EXIT_NOT_ACCEPTED,
    EXIT_UNDECIDED,
    EXIT_WRONG_INPUT,
    is_first_process,
    program_name,
)

log = logging.getLogger(__name__)

# Errors caused by a path, a disk or a system limit, not by the program.
_OF_THE_SYSTEM = (errno.EIO, errno.ELOOP, errno.EMFILE, errno.ENAMETOOLONG, errno.ENFILE, errno.ENOTDIR, errno.ESTALE)


def program() -> int:
    """Run ``main`` as a separate process, with faster start-up and exit; see ``garbage``."""
    garbage.pause()
    try:
        return main()
    finally:
        garbage.skip_last()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    args, verbosity = take_verbosity(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        print(overview())
        return 0
    if args[0] == "--version":
        from importlib.metadata import version

        print(f"dlrm-pl {version('dlrm-pl')}")
        return 0
    # Set before torch is loaded. By default, its threads spin while they wait for each other; if another program takes
    # one of their processors, each of a step's hundred waits lasts as long as that program's time slice (measured: 20
    # times slower).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    # Only the first process logs progress; the others would repeat it.
    level = verbosity.level if is_first_process() else max(verbosity.level, logging.WARNING)
    logging.getLogger("dlrm_pl").setLevel(level)
    with _remembered_interrupts() as interrupts:
        try:
            return _run_to_status(args, verbosity)
        except Exception:
            # A library that was interrupted during its import may have turned KeyboardInterrupt into another error.
            if interrupts:
                return _interrupted(args)
            raise


def _run_to_status(args: list[str], verbosity: Verbosity) -> int:
    try:
        with verbosity.output():
            status, report = _run(args[0], args[1:], verbosity)
        if report is not None:
            report.print(verbosity.json)
        return status
    except DLRMError as error:
        log.debug("The error was raised here:", exc_info=True)
        return EXIT_WRONG_INPUT if error.on_all_processes and not is_first_process() else _fail(str(error))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(f"{_full(error)}. No partial output was left; free some space and run again.")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return _fail(f"No permission to read or write{_of(error)} ({error.strerror}). Choose another folder.")
        if error.errno == errno.EFBIG:
            return _fail(
                f"The file would be too large{_of(error)}. No partial output was left; raise the limit of the shell "
                "(ulimit -f), or choose a file system for larger files."
            )
        if error.errno in _OF_THE_SYSTEM:
            return _fail(f"The system cannot read or write{_of(error)} ({error.strerror}).")
        raise
    except KeyboardInterrupt as interrupt:
        return _interrupted(args, interrupt)
    except SystemExit as stop:
        # Lightning turns ctrl-C into sys.exit(1).
        if isinstance(stop.__context__, KeyboardInterrupt):
            return _interrupted(args, stop.__context__)
        raise


@contextmanager
def _remembered_interrupts() -> Iterator[list[int]]:
    """Yield a list that grows with each ctrl-C, without changing what ctrl-C does."""
    seen: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield seen  # The calling program has its own handler, or this is not the main thread.
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def overview() -> str:
    """Return the text of ``--help``."""
    lines = [
        f"usage: {program_name()} COMMAND [OPTION ...]",
        "",
        "From raw click logs to a verified int8 DLRM.",
        "",
        "commands:",
    ]
    from dlrm_pl.cli.completion import completion

    for name in ORDER:
        summary = TRAINER.get(name) or (LIGHT.get(name, completion).__doc__ or "").splitlines()[0]
        lines.append(f"  {name:<19}{summary}")
    lines += [
        "",
        "Every command has -q (results, warnings and errors only), -v (details) and --json (the result as JSON).",
        f"`{program_name()} COMMAND --help` lists the options of a command.",
        "Exit codes: 0 success, 2 usage or input error, 3 quantize found no model within tolerance, 4 too few test",
        "rows to decide (the best model is saved in either case), 130 interrupted, 141 output pipe closed (`| head`).",
    ]
    return "\n".join(lines)


def _run(name: str, args: list[str], verbosity: Verbosity) -> tuple[int, Report | None]:
    """Run a command; returns the exit status and the report."""
    if name == "predict" and any(arg.split("=")[0] == "--artifact" for arg in args):
        return 0, _run_light("predict", PREDICT_WITH_ARTIFACT, args)
    if name == "from-dlrm-flags":
        return 0, _run_from_dlrm_flags(args)
    if name == "completion":
        from dlrm_pl.cli.completion import completion

        return 0, _run_light(name, completion, args)
    if name in LIGHT:
        return 0, _run_light(name, LIGHT[name], args)
    if name in TRAINER:
        return _run_with_trainer(name, args, verbosity)
    close = difflib.get_close_matches(name, ORDER, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ConfigurationError(f"There is no command {name!r}.{hint} The commands are {', '.join(ORDER)}.")


def _run_light(
    name: str,
    function: Callable[..., Report | None],
    args: list[str],
    verbatim: dict[str, list[str]] | None = None,
) -> Report | None:
    from dlrm_pl.cli.arguments.config_files import refuse_names_of_runs
    from dlrm_pl.cli.light import run_light

    refuse_names_of_runs("predict --artifact" if name == "predict" else name, args)
    return run_light(name, function, with_present_names(name, args), verbatim)


def _run_with_trainer(name: str, args: list[str], verbosity: Verbosity) -> tuple[int, Report | None]:
    from dlrm_pl.cli.arguments.config_files import with_config_files
    from dlrm_pl.cli.help.layout import HELP

    if HELP & set(args):  # Ignore all other arguments, which may be incomplete.
        args = ["--help_all" if "--help_all" in args else "--help"]
    if name in ("quantize", "sweep") and not is_first_process():
        return 0, None  # Only one process quantizes or sweeps, even if torchrun started several.
    args = with_data_settings(name, with_present_names(name, args))
    args = with_config_files(args)  # First, because it takes no time and the next steps take seconds.
    if name == "quantize":
        from dlrm_pl.cli.plain_quantize import plain_quantize

        if (outcome := plain_quantize(args)) is not None:
            from dlrm_pl.cli.quantized import quantized_report

            return _status_of([outcome.certificate.outcome]), quantized_report(outcome)
    from dlrm_pl.cli.trainer.running import run

    garbage.resume()
    outcomes, report = run([name, *args], verbosity)
    return _status_of(outcomes), report


def _status_of(outcomes: Sequence[str]) -> int:
    """Return the exit status for the outcomes of a command's quantizations, of which there may be none."""
    if "not accepted" in outcomes:
        return EXIT_NOT_ACCEPTED
    return EXIT_UNDECIDED if "undecided" in outcomes else 0


def _run_from_dlrm_flags(args: list[str]) -> Report | None:
    """Split off upstream's command line, which follows `--`: no word of it is an option of ours."""
    at = args.index("--") if "--" in args else len(args)
    ours, theirs = args[:at], args[at + 1 :]
    if {"-h", "--help"} & set(args):
        ours = ["--help"]
    elif any(arg.endswith(".py") for arg in ours):
        raise ConfigurationError("Put `--` in front of upstream's command line: from-dlrm-flags -- python ...")
    return _run_light("from-dlrm-flags", LIGHT["from-dlrm-flags"], ours, verbatim={"command": theirs})


def _full(error: OSError) -> str:
    # There is no file name if the output was printed.
    return f"The disk is full: {error.filename}" if error.filename else "The disk or the output device is full"


def _of(error: OSError) -> str:
    return f": {error.filename}" if error.filename else ""


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return EXIT_WRONG_INPUT


def _interrupted(args: list[str], interrupt: KeyboardInterrupt | None = None) -> int:
    checkpoint = getattr(interrupt, "checkpoint", None)
    if checkpoint is not None:
        what = f"Run the same command with --ckpt_path {checkpoint} to continue."
    elif (trained := getattr(interrupt, "trained", None)) is not None:
        what = (
            f"Training had finished, and its model is in {trained}. To quantize it, run `quantize` with the same "
            f"configuration and --ckpt_path {trained}."
        )
    elif args[0] == "sweep":
        what = "Finished trials are kept; run the same command again to continue."
    elif args[0] == "fit":
        what = (
            "No partial output was left. To continue, run the same command with --ckpt_path and an earlier "
            "checkpoint; to start over, run it with --overwrite."
        )
    else:
        what = "No partial output was left; run the same command again to continue."
    print(f"Interrupted. {what}", file=sys.stderr)
    return EXIT_INTERRUPTED
