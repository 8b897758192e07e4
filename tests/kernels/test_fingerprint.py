"""Fingerprints change with whatever a function computes, and with nothing else."""

import os
import subprocess
import sys
import types

from kernels.fingerprint import fingerprint


def test_it_follows_closures_and_the_functions_they_call():
    def make(offset):
        def helper(x):
            return x + offset

        return lambda x: 2 * helper(x)

    assert fingerprint(make(1)) == fingerprint(make(1))
    assert fingerprint(make(1)) != fingerprint(make(2))


def test_it_follows_defaults():
    def make(default):
        def plain(x, scale=default):
            return x * scale

        def keyword(x, *, scale=default):
            return x * scale

        return plain, keyword

    for one, two in zip(make(1.0), make(2.0), strict=True):
        assert fingerprint(one) != fingerprint(two)


def test_it_follows_functions_of_modules(monkeypatch):
    module = types.ModuleType("some_helpers")
    monkeypatch.setitem(sys.modules, "some_helpers", module)

    def of(body):
        names = {"__name__": "some_helpers"}
        exec(body, names)
        module.helper = names["helper"]
        scope = {"some_helpers": module, "__name__": "user"}
        exec("def function(x):\n    return some_helpers.helper(x)", scope)
        return fingerprint(scope["function"])

    assert of("def helper(x): return x + 1") == of("def helper(x): return x + 1")
    assert of("def helper(x): return x + 1") != of("def helper(x): return x + 2")


def test_it_ends_on_recursion():
    def down(n):
        return 0 if n == 0 else down(n - 1)

    assert fingerprint(down) == fingerprint(down)


def test_it_is_the_same_in_every_process():
    program = (
        "from kernels.fingerprint import fingerprint\nfrom kernels.losses import LOSSES\n"
        "from kernels.activations import ACTIVATIONS\nfrom kernels.optimizers import OPTIMIZERS\n"
        "SET = {'a', 'b', 'c', 'd'}\ndef f(x, y={'k', 'l'}):\n    return x in SET or x in {'p', 'q', 'r'}\n"
        "print(fingerprint(f), *[i.key for r in (LOSSES, ACTIVATIONS, OPTIMIZERS) for i in r.values()])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in range(3)
    }
    assert len(outputs) == 1
