"""Read a pasted command line into program, variables and arguments, with the subset of shell syntax that this takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.flags.arithmetic import with_numbers

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_OPERATORS = re.compile(r"[|&;<>]+")
# Also with blanks after the backslash: they are meant as a continuation, although a shell would end the command.
_CONTINUATION = re.compile(r"\\([ \t]*)\r?\n")
_PROGRAM = re.compile(r"(^|\s)\S*\.py\b|(^|\s)--?\w")
_PROCESSES = re.compile(r"(?:--nproc[_-]per[_-]node|--num_trainers)(?:=(.*))?|-np?|--np")
# torchx: the number of machines, "x", the number of processes on each.
_MACHINES = re.compile(r"-j=?(.+)?")
_OF_BOTH = re.compile(r"(?:0*([1-9][0-9]{0,4})x)?0*([1-9][0-9]{0,4})")
# A torchx component, which is a function in a file; that of the TorchRec program runs its script.
_COMPONENT = re.compile(r"(?:\S*/)?aws_component\.py:\w+")
_COUNT = re.compile(r"0*[1-9][0-9]{0,8}")
_PLAIN_PREFIX = re.compile(r"(\S*/)?python[\d.]*|-u|-m|export|env|time|nohup|\$\S+")


@dataclass
class Pasted:
    """Parts of a pasted command line.

    Attributes:
        program: file name of the script; empty if there are only flags.
        arguments: arguments of the script.
        environment: assignments before the script, in order, except those that were substituted in its arguments.
        processes: number of processes that a launcher starts on each machine; None without a launcher.
        machines: number of machines.
        ignored: words that are not part of the run: before it, such as ``cd``, and after it, such as a pipe.
        computed: names of variables whose values were used in arithmetic.
        broken_line: whether a line ends with a backslash followed by blanks, which was read as a continuation.
    """

    program: str = ""
    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    processes: int | None = None
    machines: int = 1
    ignored: list[str] = field(default_factory=list)
    computed: set[str] = field(default_factory=set)
    broken_line: bool = False


def read_pasted(words: Sequence[str]) -> Pasted:
    """Read a command line: the words that a shell made of it, or one word with its whole text.

    Raises:
        ConfigurationError: a quote is not closed, a shell lost the end of the command, or there is no command.
    """
    pasted = Pasted()
    if not any(word.strip() for word in words):
        words = []
    if len(words) == 1 and re.search(r"\s", words[0].strip()):
        words = _words_of_text(words[0], pasted)
    elif any(not word.strip() for word in words):
        if not words[-1].strip():
            # A shell turns a backslash and a blank at the end of a line into a blank word, and the rest is lost.
            raise ConfigurationError(
                f"The command line ends after {''.join(words[-2:-1])!r}, at a backslash followed by a space, after "
                "which a shell does not continue on the next line. Remove the trailing space, or give the whole text "
                "on stdin: from-dlrm-flags -- <<'EOF', the command line, EOF."
            )
        words = [word for word in words if word.strip()]
    if not words:
        raise ConfigurationError("No upstream command line was given. Put it after `--` or on stdin.")
    start = _read_prefix(words, pasted)
    pasted.arguments = [_substituted(word, pasted.environment) for word in words[start:]]
    used = pasted.computed | {match[1] or match[2] for word in words for match in _VARIABLE.finditer(word)}
    pasted.environment = {name: value for name, value in pasted.environment.items() if name not in used}
    return pasted


def _words_of_text(text: str, pasted: Pasted) -> list[str]:
    """Do what the shell would have done: join lines, remove quotes, stop at a pipe."""
    pasted.broken_line = any(match[1] for match in _CONTINUATION.finditer(text))
    text, pasted.computed = with_numbers(_CONTINUATION.sub(" ", text))
    # A further line of flags belongs to the command, even if its backslash was lost when it was copied.
    lines = re.sub(r"\r?\n\s*(?=-)", " ", text.strip()).splitlines()
    chosen = next((number for number, line in enumerate(lines) if _PROGRAM.search(line)), 0)
    words = []
    for number, line in enumerate(lines[: chosen + 1]):
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split, lexer.commenters = True, ""
        try:
            found = list(lexer)
        except ValueError as error:
            raise ConfigurationError(f"The command line cannot be parsed ({error}): {line.strip()[-60:]!r}") from error
        if number < chosen:
            words += [word for word in found if not _OPERATORS.fullmatch(word)]
        else:
            # `VARIABLE=x; python ...` continues after the semicolon, but `python ... | tee log` ends at the pipe.
            end = next((at for at, word in enumerate(found) if at and _ends(found, at)), len(found))
            words += [word for word in found[:end] if not _OPERATORS.fullmatch(word)]
            behind = [*found[end:], *lines[chosen + 1 :]]
            pasted.ignored += [" ".join(behind)] if behind else []
    return words


def _ends(words: list[str], at: int) -> bool:
    """Whether the command ends before this word: at an operator or a comment after its flags."""
    before = words[:at]
    reached = any(word.endswith(".py") for word in before) or any(word.startswith("--") for word in before)
    # The 2 in `2>&1` is a separate word.
    redirects = words[at].isdecimal() and at + 1 < len(words) and words[at + 1].startswith(">")
    return reached and (redirects or words[at].startswith("#") or bool(_OPERATORS.fullmatch(words[at])))


def _read_prefix(words: Sequence[str], pasted: Pasted) -> int:
    """Read what comes before the flags, and return where they begin."""
    programs = [at for at, word in enumerate(words) if word.endswith(".py") or _COMPONENT.fullmatch(word)]
    flags = [at for at, word in enumerate(words) if word.startswith("-")]
    # Flags before the script belong to a launcher; without a script, all flags are the program's.
    end = programs[0] if programs else flags[0] if flags else len(words)
    script = words[end] if programs else ""
    if is_component := _COMPONENT.fullmatch(script) is not None:  # torchx's own flags end at a double dash.
        end = next((at for at in range(end, len(words)) if words[at] == "--"), len(words))
    at, before = 0, []
    while at < end:
        word = words[at]
        if processes := _PROCESSES.fullmatch(word):
            count = processes[1]
            if count is None and at + 1 < end:
                at += 1
                count = words[at]
            if count is not None and _COUNT.fullmatch(count):
                pasted.processes = int(count)
            else:
                before.append(f"{word} {count or ''}".strip())
        elif machines := _MACHINES.fullmatch(word):
            at += machines[1] is None
            count = machines[1] or (words[at] if at < end else "")
            if both := _OF_BOTH.fullmatch(count):
                pasted.machines, pasted.processes = int(both[1] or 1), int(both[2])
            else:
                before.append(f"-j {count}".strip())
        elif assignment := _ASSIGNMENT.fullmatch(word):
            pasted.environment[assignment[1]] = _substituted(assignment[2], pasted.environment)
        elif not _PLAIN_PREFIX.fullmatch(word):
            before.append(word)
        at += 1
    if before:
        pasted.ignored.insert(0, " ".join(before))
    if not programs:
        return end
    pasted.program = "dlrm_main.py" if is_component else script.rsplit("/", 1)[-1]
    # A launcher may end its own flags with a double dash, here or before the script.
    is_ended = end + 1 < len(words) and words[end + 1] == "--"
    return end + 1 + (is_ended and not is_component)


def _substituted(word: str, environment: dict[str, str]) -> str:
    """Substitute variables that the command line itself sets; others are the user's, and are kept."""
    return _VARIABLE.sub(lambda match: environment.get(match[1] or match[2], match[0]), word)


def is_variable(word: str) -> bool:
    """Return whether a word is nothing but a shell variable."""
    return _VARIABLE.fullmatch(word) is not None


def variables_of(text: str) -> list[str]:
    """Return the shell variables in a text, each once, in order."""
    return list(dict.fromkeys(match[0] for match in _VARIABLE.finditer(text)))
