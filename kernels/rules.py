"""Element-wise rules: plain Python formulas that run on NumPy arrays and in vector registers alike.

An activation or an optimizer is written once, as a function of ``+ - * /``, comparisons and the functions below.
Called with arrays it computes; called with symbols (:func:`trace`) it leaves a program, a list of instructions that
:mod:`kernels.emit` turns into vector code inside a tile. Its text names it in the cache of compiled kernels, so an
edit of a formula, or of anything it calls, is noticed wherever it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np


class Symbol:
    """One value of a program under construction."""

    __array_ufunc__ = None  # NumPy scalars leave the operators to us

    def __init__(self, program: list[str], text: str) -> None:
        self.program = program
        program.append(text)
        self.index = len(program) - 1

    def _apply(self, op: str, *operands: Any) -> Symbol:
        return Symbol(self.program, " ".join([op, *(_operand(o) for o in operands)]))

    def __add__(self, other: Any) -> Symbol:
        return self._apply("add", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return self._apply("add", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return self._apply("sub", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return self._apply("sub", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return self._apply("mul", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return self._apply("mul", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return self._apply("div", self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self._apply("div", other, self)

    def __pow__(self, exponent: int) -> Symbol:
        if not isinstance(exponent, int) or exponent < 1:
            raise TypeError(f"a rule can raise a value to a whole power from 1 up, not to {exponent!r}")
        return self if exponent == 1 else self * self ** (exponent - 1)

    def __neg__(self) -> Symbol:
        return self._apply("sub", -0.0, self)

    def __lt__(self, other: Any) -> Symbol:
        return self._apply("lt", self, other)

    def __gt__(self, other: Any) -> Symbol:
        return self._apply("lt", other, self)

    def __bool__(self) -> bool:
        raise TypeError("a rule cannot branch on a value: use kernels.rules.where(condition, a, b)")


def _operand(value: Any) -> str:
    return f"%{value.index}" if isinstance(value, Symbol) else repr(float(value))


def _function(op: str, on_arrays: Callable[..., Any]) -> Callable[..., Any]:
    """A function of arrays or symbols."""

    def apply(*values: Any) -> Any:
        symbol = next((v for v in values if isinstance(v, Symbol)), None)
        return symbol._apply(op, *values) if symbol is not None else on_arrays(*values)

    apply.__name__ = apply.__qualname__ = op
    apply.__doc__ = f"``{op}``, of arrays or inside a rule."
    return apply


def _erf(x: Any) -> Any:
    from scipy import special  # 0.1 s to import, and only GELU on arrays needs it

    return special.erf(x)


sqrt = _function("sqrt", np.sqrt)
exp = _function("exp", np.exp)
tanh = _function("tanh", np.tanh)
erf = _function("erf", _erf)
absolute = _function("abs", np.abs)
where = _function("where", np.where)


def maximum(a: Any, b: Any) -> Any:
    """The larger value; where ``a`` is NaN, NaN (symbols) as in NumPy."""
    return np.maximum(a, b) if not _symbolic(a, b) else where(a < b, b, a)


def _symbolic(*values: Any) -> bool:
    return any(isinstance(v, Symbol) for v in values)


@dataclass(frozen=True)
class Program:
    """A traced rule.

    Attributes
    ----------
    inputs : tuple of str
        Names of the values it takes, in order.
    text : str
        One instruction a line; ``%n`` is the value of line n.
    outputs : tuple of int
        Lines that hold the results.
    """

    inputs: tuple[str, ...]
    text: str
    outputs: tuple[int, ...]

    @property
    def key(self) -> str:
        """Names the program in the cache of compiled code."""
        return repr((self.inputs, self.text, self.outputs))

    def uses(self, name: str) -> bool:
        """Whether the results depend on the input ``name``."""
        needed, lines = set(self.outputs), self.text.split("\n")
        for n in range(len(lines) - 1, -1, -1):
            if n in needed:
                needed.update(int(word[1:]) for word in lines[n].split() if word.startswith("%"))
        return self.inputs.index(name) in needed


def trace(rule: Callable[..., Any], inputs: Sequence[str]) -> Program:
    """Program of a rule that takes ``inputs`` by position and returns one value or a tuple of values.

    Raises
    ------
    TypeError
        When the rule branches on a value or returns something other than numbers and symbols.
    """
    lines: list[str] = []
    symbols = [Symbol(lines, f"input {name}") for name in inputs]
    result = rule(*symbols)
    results = result if isinstance(result, tuple) else (result,)
    outputs = tuple(r.index if isinstance(r, Symbol) else Symbol(lines, f"add {float(r)!r} 0.0").index for r in results)
    return Program(tuple(inputs), "\n".join(lines), outputs)


def trace_optimizer(rule: Callable[..., Any], n_slots: int, scalars: Sequence[str]) -> Program:
    """Program of ``rule(w, g, slots, h) -> (w, slots)`` with inputs w, g, s0, s1, …, then the scalars by name."""

    def flat(w: Any, g: Any, *rest: Any) -> tuple[Any, ...]:
        h = SimpleNamespace(**dict(zip(scalars, rest[n_slots:], strict=True)))
        new_w, new_slots = rule(w, g, rest[:n_slots], h)
        return (new_w, *new_slots)

    return trace(flat, ("w", "g", *(f"s{i}" for i in range(n_slots)), *scalars))
