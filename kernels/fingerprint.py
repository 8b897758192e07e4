"""What a Python function computes, as a short text: names compiled code and results, so neither is served stale."""

from __future__ import annotations

import hashlib
import inspect
import types
from typing import Any

# Their versions are part of kernels.jit.source_digest, and their code is not for us to follow.
_NOT_FOLLOWED = {"numpy", "numba", "math", "builtins", "functools"}


def fingerprint(function: Any) -> str:
    """Digest of a function's code and of all it reaches: defaults, closures, globals, and functions these call."""
    digest, seen = hashlib.sha256(), set()

    def visit(value: Any) -> None:
        value = inspect.unwrap(getattr(value, "py_func", value))
        code = getattr(value, "__code__", None)
        if code is None or value.__module__.partition(".")[0] in _NOT_FOLLOWED:
            # The repr of a module or a builtin may hold an address or a path: its name says enough.
            digest.update(repr(getattr(value, "__name__", value)).encode())
        elif value not in seen:
            seen.add(value)
            visit_code(code, value.__globals__)
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            for reached in (*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()):
                visit(reached)

    def visit_code(code: Any, names: dict[str, Any]) -> None:
        digest.update(code.co_code)
        for constant in code.co_consts:
            if hasattr(constant, "co_code"):
                visit_code(constant, names)
            else:
                digest.update(repr(constant).encode())
        for name in code.co_names:
            digest.update(name.encode())
            reached = names.get(name)
            if isinstance(reached, types.ModuleType):
                followed = reached.__name__.partition(".")[0] not in _NOT_FOLLOWED
                for attribute in code.co_names if followed else ():
                    if hasattr(reached, attribute):
                        visit(getattr(reached, attribute))
            elif reached is not None:
                visit(reached)

    visit(function)
    return digest.hexdigest()[:16]
