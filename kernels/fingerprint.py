"""What a Python function computes, as a short text: names compiled code and results, so neither is served stale.

The text is the same in every process: nothing in it depends on addresses or on the order of sets.
"""

from __future__ import annotations

import hashlib
import inspect
import types
from typing import Any

# Followed by name only. The sources of `kernels` and the versions of the others are part of all that a fingerprint
# is part of: kernels.jit.source_digest, and the code version of a result.
_BY_NAME = {"kernels", "numpy", "numba", "math", "builtins", "functools"}
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def fingerprint(function: Any) -> str:
    """Digest of a function's code and of all it reaches: defaults, closures, globals, and functions these call."""
    digest, seen = hashlib.sha256(), set()

    def note(text: str) -> None:
        digest.update(f"{len(text)}:{text}".encode())

    def visit(value: Any) -> None:
        value = inspect.unwrap(getattr(value, "py_func", value))
        if isinstance(value, _PLAIN):
            note(repr(value))
        elif isinstance(value, (tuple, list)):
            note(f"{type(value).__name__} of {len(value)}")
            for item in value:
                visit(item)
        elif isinstance(value, (set, frozenset)):
            note(f"set {sorted(map(repr, value))}")
        elif isinstance(value, dict):
            visit([item for pair in value.items() for item in pair])
        elif hasattr(value, "tobytes"):  # arrays and NumPy's numbers
            note(f"{getattr(value, 'dtype', '')} {getattr(value, 'shape', '')} {value.tobytes().hex()}")
        elif hasattr(value, "__code__") and not _by_name(value):
            if value not in seen:
                seen.add(value)
                visit_code(value.__code__, value.__globals__)
                cells = [cell.cell_contents for cell in value.__closure__ or ()]
                for reached in (*cells, value.__defaults__, value.__kwdefaults__):
                    visit(reached)
        else:
            note(f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}")

    def visit_code(code: Any, names: dict[str, Any]) -> None:
        note(code.co_code.hex())
        for constant in code.co_consts:
            if hasattr(constant, "co_code"):
                visit_code(constant, names)
            else:
                visit(constant)
        for name in code.co_names:
            note(name)
            reached = names.get(name)
            if not isinstance(reached, types.ModuleType):
                visit(reached)
            elif reached.__name__.partition(".")[0] not in _BY_NAME:
                for attribute in code.co_names:
                    visit(getattr(reached, attribute, None))

    visit(function)
    return digest.hexdigest()[:16]


def _by_name(function: Any) -> bool:
    return str(function.__module__).partition(".")[0] in _BY_NAME
