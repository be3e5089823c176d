"""Extension for Griffe, which reads the docstrings for mkdocstrings without importing the code."""

from __future__ import annotations

import inspect
import re
from typing import Any

from griffe import Class, Extension, Function, Module, Object

from dlrm_pl.documents.docstrings import describes_arguments_by

_DECORATOR = f"{describes_arguments_by.__module__}.{describes_arguments_by.__name__}"


class OwnDocstrings(Extension):
    """Convert our docstrings to the form that Griffe reads.

    Griffe calls the section ``Examples``. ``describes_arguments_by`` completes a docstring when the code is
    imported; this class does the same without importing it.
    """

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rename the section of one object."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)

    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        """Complete the docstrings of a package once all its objects are known."""
        modules = [pkg]
        while modules:
            module = modules.pop()
            modules += [one for one in module.modules.values() if not one.is_alias]
            for made in module.classes.values():
                if not made.is_alias:
                    _complete(made, pkg)
                    for method in made.functions.values():
                        if not method.is_alias:
                            _complete(method, pkg)


def _complete(documented: Class | Function, package: Module) -> None:
    for decorator in documented.decorators:
        call = decorator.value
        if documented.docstring is None or decorator.callable_path != _DECORATOR:
            continue
        sources = []
        for argument in call.arguments:  # type: ignore[union-attr]
            source = package.modules_collection[documented.module.resolve(str(argument))]
            sources.append(type(source.name, (), {"__doc__": source.docstring.value}))
        stand_in: Any = type(documented.name, (), {"__doc__": documented.docstring.value})
        parameters = [p.name for p in documented.parameters if p.name != "self"]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        stand_in.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in parameters])
        documented.docstring.value = describes_arguments_by(*sources)(stand_in).__doc__
