"""Explain in plain words why jsonargparse refused a value.

An error of jsonargparse is a single string with a regular layout: each level of nesting is indented further, and begins
with the option, the class or the list of types that were tried. Only this string says why each of several types failed,
so it is parsed, level by level. pyproject.toml pins jsonargparse to versions that write errors in this layout.
"""

from __future__ import annotations

import difflib
import importlib
import re
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import dataclass, replace
from textwrap import dedent

import jsonargparse
from yaml import YAMLError

from dlrm_pl.cli.output import JSON, QUIET, VERBOSE
from dlrm_pl.documents.yaml_text import parse_yaml

_KEY = re.compile(r'Parser key "(?P<key>[^"]*)"(?: element \d+)?:')
_CLASS = re.compile(r"Problem with given class_path '(?P<name>[^']*)':?")
_UNION = re.compile(r"Does not validate against any of the Union subtypes\n.*?(?:^|\n)Errors:\n", re.DOTALL)
_GIVEN = re.compile(r"\nGiven value type: [^\n]*\nGiven value: (?P<value>.*)", re.DOTALL)
_EXPECTED = re.compile(r"Expected (?:an? )?(?P<kind>.+?)(?:\. Got value: (?P<value>.*))?", re.DOTALL)
_UNKNOWN = (
    re.compile(r"(?:Subcommand|Group) '(?P<group>[^']*)' does not accept option '(?P<name>[^']*)'.*", re.DOTALL),
    re.compile(r"(?P<group>)Option '(?P<name>[^']*)' is not accepted.*", re.DOTALL),
)
_NESTED = re.compile(r"(?:Got|Given) value: NestedArg\(key='(?P<name>[^']*)', val=")
_NO_CLASS = re.compile(r"Expected a dot import path string|Not a valid subclass of \w+")
_NOT_IMPORTED = re.compile(
    r"(?:module|No module named) '(?P<module>[^']*)'(?: has no attribute '[^']*')?|No (?P<lazy>\S+) attribute \S+"
)
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text (put it in quotes)",
    "NoneType": "null",
    "list": "a list, as in [1, 2]",
    "Sequence": "a list, as in [1, 2]",
    "Iterable": "a list, as in [1, 2]",
    "tuple": "a list, as in [1, 2]",
    "dict": "a mapping, as in {name: value}",
    "Mapping": "a mapping, as in {name: value}",
    "timedelta": "a time, as in 00:12:00:00",
    "path": "a file",
}
_ELSEWHERE: dict[tuple[str, str | None], str] = {
    ("model.optimizer", "adam"): "for the MLPs alone, give --model.dense_optimizer adam",
    ("model.optimizer", "lamb"): "for the MLPs alone, give --model.dense_optimizer lamb",
    (
        "model.dense_optimizer",
        "rwsadagrad",
    ): "for the tables, and Adagrad for the MLPs, give --model.optimizer rwsadagrad",
}
"""What to give instead, by option and value, where the value belongs to another option."""

_LONGEST_VALUE = 60


@dataclass(frozen=True)
class Reason:
    """What is wrong with a value, and where it is."""

    text: str
    key: str = ""
    """The option, such as ``trainer.callbacks``."""
    cls: str = ""
    """The class inside that option, by its path."""
    inner: str = ""
    """The setting of that class."""
    kinds: tuple[str, ...] = ()
    """For a value of the wrong type: the types that it may have, in words."""
    value: str | None = None

    def __str__(self) -> str:
        inside = ".".join(filter(None, [self.cls.rpartition(".")[2], self.inner]))
        return ": ".join(filter(None, [self.key, inside, self.text]))


def explained(message: str, parser: ArgumentParser | None = None) -> Reason:
    """Translate a jsonargparse error.

    Args:
        message: text of the error.
        parser: parser that raised the error; used to suggest options with similar names.
    """
    reason = _read(dedent(message).strip(), parser, Reason(""))
    instead = _ELSEWHERE.get((reason.key, reason.value))
    return replace(reason, text=f"{reason.text.partition('; did you mean')[0]}; {instead}") if instead else reason


def _read(text: str, parser: ArgumentParser | None, at: Reason) -> Reason:
    """Read one level of an error that belongs to a place."""
    if match := _KEY.match(text):
        name = match["key"]
        if at.cls:
            at = replace(at, inner=name)
        elif name != "config":
            at = replace(at, key=name)
        return _read(_below(text, match), parser, at)
    if match := re.match(r"- Expected a path but [^\n]*\n- ", text):  # The value was first tried as a YAML file.
        return _read(_outdented(text[match.end() :]), parser, at)
    if match := _CLASS.match(text):
        return _read(_below(text, match), parser, replace(at, cls=match["name"], inner=""))
    if (match := _NESTED.search(text)) and at.key and not at.cls and not _CLASS.search(text):
        return replace(at, key="", text=f"unknown option --{at.key}.{match['name']}; did you mean --{at.key}?")
    if text.startswith("Unable to load config"):
        return _unreadable(text, parser, at)
    if match := _UNION.match(text):
        return _read_union(text[match.end() :], parser, at)
    for pattern in _UNKNOWN:
        if match := pattern.fullmatch(text):
            return _unknown_key(match["group"], match["name"], parser, at)
    if text.startswith("the following arguments are required:"):
        return replace(at, text=_missing(text.partition(":")[2].split(", "), parser))
    if text.startswith("unrecognized arguments:"):
        return replace(at, text=_unknown_arguments(text.partition(":")[2].split(), parser))
    if (match := _NOT_IMPORTED.fullmatch(text)) and at.cls.startswith(match["module"] or match["lazy"]):
        return replace(at, cls="", text=f"there is no class {at.cls}{_class_suggestion(at.cls)}")
    if match := _EXPECTED.fullmatch(text):
        kinds, value = _kinds(match["kind"]), match["value"]
        if kinds and value is not None:
            return replace(at, text=_mismatch(value, kinds), kinds=kinds, value=value)
        if kinds:
            return replace(at, kinds=kinds)
    return replace(at, text=_plain(text))


def _below(text: str, match: re.Match[str]) -> str:
    """Return what follows a heading, on its line or indented below it."""
    rest = text[match.end() :]
    return dedent(rest.lstrip("\n")).strip() if rest[:1] == "\n" else _outdented(rest.strip())


def _read_union(text: str, parser: ArgumentParser | None, at: Reason) -> Reason:
    """Pick the reason for the type that the user most likely meant: that of a class, or of a part of the value."""
    given = _GIVEN.search(text)
    value = given["value"].strip() if given else ""
    errors = dedent(text[: given.start()] if given else text)
    bullets = [_outdented(bullet) for bullet in re.split(r"(?:^|\n)- ", errors)[1:]]
    reasons = [_read(bullet, parser, at) for bullet in bullets]
    inside = [reason for reason in reasons if (reason.cls, reason.inner) != (at.cls, at.inner)]
    missing = [reason for reason in reasons if reason.text.startswith("there is no class ")]
    parts = [reason for reason in reasons if reason.value not in (None, value)]
    refused = [
        reason
        for bullet, reason in zip(bullets, reasons, strict=True)
        if reason.text and not _EXPECTED.match(bullet) and not _NO_CLASS.match(bullet)
    ]
    if best := inside or missing or refused or parts:
        return best[0]
    kinds = tuple(dict.fromkeys(kind for reason in reasons for kind in reason.kinds))
    needs_class = any(_NO_CLASS.match(bullet) for bullet in bullets)
    if needs_class and set(kinds) <= {_KINDS[kind] for kind in ("NoneType", "list", "bool")}:
        return replace(at, text=f"{_shown(value)} is not the name of a class that can be used here")
    if kinds:
        return replace(at, text=_mismatch(value, kinds), kinds=kinds, value=value)
    return replace(at, text=f"{_shown(value)} cannot be used here")


def _outdented(text: str) -> str:
    """Remove the common indentation of all lines but the first."""
    first, _, rest = text.partition("\n")
    return f"{first}\n{dedent(rest)}" if rest else first


def _unreadable(text: str, parser: ArgumentParser | None, at: Reason) -> Reason:
    """Explain a value that is given where a YAML file, or YAML, is expected."""
    if inner := re.search(r'\n *- (Parser key ".*)', text, re.DOTALL):
        nested = _read(_outdented(inner[1]), parser, Reason(""))
        if "neither a YAML file" not in nested.text:
            return nested
    value = re.search(r"Unable to load config [\"'](.*?)[\"']", text, re.DOTALL)
    if value and (inner := re.search(r"\n *- (line \d+.*)", text, re.DOTALL)):
        return replace(at, text=f"{value[1]}: {_plain(inner[1])}")
    return replace(at, text=f"{_shown(value[1] if value else '')} is neither a YAML file nor a mapping of options")


def _plain(text: str) -> str:
    """Put other errors on one line, reworded if they are common."""
    text = " ".join(text.split()).rstrip(".")
    text = text.removeprefix("Problems parsing config: ")
    text = re.sub(r"Type \S+ .*expects (a function or a callable class): (.*?)\. Got value: .*", r"needs \1: \2", text)
    text = re.sub(r"File does not exist: '([^']*)'", r"\1: there is no such file", text)
    text = re.sub(r"argument (-\S+): expected one argument", r"\1 needs a value", text)
    return re.sub(r'Parser key "([^"]*)": ', r"\1: ", text)


def _kinds(kind: str) -> tuple[str, ...] | None:
    """Translate a type as jsonargparse writes it; None if it is not a type."""
    if literal := re.fullmatch(r"(?:typing\.)?Literal\[(.*)\]", kind):
        values = re.findall(r"'([^']*)'|([^,\s]+)", literal[1])
        return (f"one of {', '.join(quoted or plain for quoted, plain in values)}",)
    name = re.fullmatch(r"(?:<class ')?([\w.]+)(?:'>)?", kind)
    if name and name[1].rpartition(".")[2] in _KINDS:
        return (_KINDS[name[1].rpartition(".")[2]],)
    if kind.startswith("path but "):
        return (_KINDS["path"],)
    return (f"a {name[1].rpartition('.')[2]}",) if name and kind.startswith("<class") else None


def _mismatch(value: str, kinds: tuple[str, ...]) -> str:
    kinds = tuple(kind for kind in kinds if kind != _KINDS["NoneType"]) or kinds
    if _KINDS["float"] in kinds:
        kinds = tuple(kind for kind in kinds if kind != _KINDS["int"])
    if len(kinds) > 1:
        kinds = tuple(kind.replace(" or ", ", ") for kind in kinds)
    choices = [
        name for kind in kinds if kind.startswith("one of ") for name in kind.removeprefix("one of ").split(", ")
    ]
    choices = list(dict.fromkeys(choices))
    parts = [kind for kind in kinds if not kind.startswith("one of ")]
    parts += [f"one of {', '.join(choices)}"] if choices else []
    words = ", ".join(parts[:-1]) + " or " * (len(parts) > 1) + parts[-1]
    return f"{_shown(value)} is not {words}{suggestion(value, choices)}"


def _shown(value: str) -> str:
    """Write a value as in YAML: text in quotes, numbers and lists without."""
    value = " ".join(value.split())
    try:
        is_text = isinstance(parse_yaml(value), str) or not value
    except YAMLError:
        is_text = True
    if len(value) > _LONGEST_VALUE:
        value = f"{value[:_LONGEST_VALUE]}..."
    return f"'{value}'" if is_text else value


def suggestion(name: str, names: Iterable[str], mark: str = "") -> str:
    """Return "; did you mean X?", or nothing if no name is similar or begins this one (raw_path: raw)."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    close = close or sorted((other for other in names if name.startswith((f"{other}_", f"{other}-"))), key=len)[-1:]
    return f"; did you mean {mark}{close[0]}?" if close else ""


def _class_suggestion(class_path: str) -> str:
    """Suggest a class of the same module or package with a similar name."""
    module, _, name = class_path.rpartition(".")
    try:
        classes = [other for other in dir(importlib.import_module(module)) if other[:1].isupper()]
    except (ImportError, ValueError):
        return ""
    return suggestion(name, classes, mark=f"{module}.")


def _unknown_key(group: str, name: str, parser: ArgumentParser | None, at: Reason) -> Reason:
    """Explain a key of a YAML file, or of a class, that does not exist."""
    names = _parameters_of(at.cls) if at.cls else [action.dest for action in parser._actions] if parser else []
    if not at.cls and "." in name:  # An option of the command: model.embeding_dim.
        group, _, name = name.rpartition(".")
        while group and group not in names and not any(other.startswith(f"{group}.") for other in names):
            group, _, name = group.rpartition(".")  # The group itself is unknown: trainr.max_epochs.
    place = f"{group}." if any(other.startswith(f"{group}.") for other in names) else ""
    beside = [other.removeprefix(place).split(".")[0] for other in names if other.startswith(place)]
    if at.cls:
        beside += ["class_path", "init_args"]
        at = replace(at, inner=group)
    elif place:
        at = replace(at, key=group)
    return replace(at, text=f"unknown key {name}{suggestion(name, beside)}")


def _missing(names: list[str], parser: ArgumentParser | None) -> str:
    """List the required options that were not given."""
    actions = {action.dest: action for action in parser._actions} if parser else {}
    options = []
    for name in (name.strip() for name in names):
        # jsonargparse puts the command in front: fit.data.folder.
        name = name if name in actions or name.partition(".")[2] not in actions else name.partition(".")[2]
        positional = name in actions and not actions[name].option_strings
        options.append(name.upper() if positional else f"--{name}")
    return f"{' and '.join(options)} {'is' if len(options) == 1 else 'are'} required"


def _unknown_arguments(arguments: list[str], parser: ArgumentParser | None) -> str:
    """Explain words of the command line that are not options, by naming the first one."""
    first = next((word for word in arguments if word.startswith("-")), None)
    if first is None:
        return f"{_shown(arguments[0])} does not belong to any option"
    name = first.partition("=")[0]
    options = [*(parser._option_string_actions if parser else ()), *QUIET, *VERBOSE, *JSON]
    return f"unknown option {name}{suggestion(name, options)}"


def _parameters_of(class_path: str) -> list[str]:
    """Return the names of a class's settings, with those inside its dataclasses as ``criterion.relative``."""
    module, _, name = class_path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
        parser = jsonargparse.ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(cls, fail_untyped=False)
    except (ImportError, AttributeError, ValueError, TypeError):
        return []
    return [action.dest for action in parser._actions]
