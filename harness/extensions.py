"""Extensions: Python files outside the package that register activations, losses or optimizers.

What can be registered is the business of ``kernels``; which files a study lists is left to ``harness.studyfile``.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
import types
from collections.abc import Iterable
from pathlib import Path

from harness.errors import UserError, show_path

MAX_EXCEPTION = 300  # characters of an extension's exception


def load_extensions(paths: Iterable[Path]) -> None:
    """Execute Python files that register activations, losses or optimizers, each once per process.

    Raises
    ------
    UserError
        When one fails: its path, the line and the exception.
    """
    for path in paths:
        name = f"ablation_extension_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
        if name in sys.modules:
            continue
        module = types.ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module  # dataclasses and pickle look a class's module up
        try:
            exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
            if isinstance(error, SyntaxError):
                places.append((str(error.filename), error.lineno))
            lines = [f", line {line}" for file, line in places if file == str(path) and line]
            what = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_EXCEPTION]
            raise UserError(f"extension {show_path(path)}{lines[-1] if lines else ''}: {what}") from None
