"""Extensions: how files outside the package are loaded, and that the examples of CONTRIBUTING.md do what it says."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from complaints import complaint
from documents import blocks, forgetful_registries, write_extensions
from studyfiles import writer

from harness.config import RunConfig
from harness.extensions import load_extensions
from harness.study import load
from kernels.activations import ACTIVATIONS
from kernels.engine import Engine
from kernels.losses import LOSSES
from kernels.model import Model
from kernels.optimizers import OPTIMIZERS
from kernels.reference import Engine as Reference

MAX_LINES = 30
STEP = 1e-5
SIZES = (7, 11, 5, 3)
ROWS = 29
NAMES = ("swish", "focal", "lion")


@pytest.fixture(autouse=True)
def extensions(tmp_path: Path) -> Iterator[list[Path]]:
    """The examples, registered from files outside the package for the time of one test."""
    paths = write_extensions(tmp_path)
    with forgetful_registries():
        load_extensions(paths)
        yield paths


def problem(**settings):
    """A model that uses given names, initial weights, data."""
    rng = np.random.default_rng(5)
    shapes = list(itertools.pairwise(SIZES))
    weights = [(rng.normal(size=shape) / np.sqrt(shape[0]), 0.1 * rng.normal(size=shape[1])) for shape in shapes]
    X, y = rng.normal(size=(ROWS, SIZES[0])), rng.integers(0, SIZES[-1], ROWS)
    return Model(SIZES, **settings), weights, X, y


def make(engine, model, weights, dtype=np.float64):
    return engine(model, weights, dtype, np.ones(SIZES[0]), np.zeros(SIZES[0]))


def test_each_example_is_at_most_thirty_lines():
    examples = blocks("CONTRIBUTING.md", "python")
    assert [code.split()[1] for code in examples] == ["swish.py", "focal.py", "lion.py"]
    assert max(len(code.splitlines()) for code in examples) <= MAX_LINES


def test_the_examples_are_registered_under_their_names():
    assert [name in registry for name, registry in zip(NAMES, (ACTIVATIONS, LOSSES, OPTIMIZERS), strict=True)] == [
        True
    ] * 3


@pytest.mark.parametrize("settings", [{"activation": "swish"}, {"loss": "focal"}], ids=str)
def test_gradients_of_an_example_are_those_of_finite_differences(settings):
    model, weights, X, y = problem(**settings)
    rows = np.arange(ROWS)
    computed = make(Engine, model, weights).gradients(X, y, rows)
    for layer, pair in enumerate(computed):
        for part in (0, 1):
            parameter, numerical = weights[layer][part], np.empty_like(pair[part])
            for at in np.ndindex(parameter.shape):
                kept, losses = parameter[at], []
                for step in (STEP, -STEP):
                    parameter[at] = kept + step
                    losses.append(make(Engine, model, weights).evaluate(X, y, rows).loss)
                parameter[at] = kept
                numerical[at] = (losses[0] - losses[1]) / (2 * STEP)
            error = np.linalg.norm(pair[part] - numerical)
            assert error <= 1e-7 * (np.linalg.norm(pair[part]) + np.linalg.norm(numerical))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-4)])
def test_both_engines_agree_on_an_epoch_with_all_examples(dtype, tolerance):
    names = dict(zip(("activation", "loss", "optimizer"), NAMES, strict=True))
    model, weights, X, y = problem(**names, settings={"weight_decay": 0.1}, l2=0.1, dropout=0.2)
    order, lr = np.random.default_rng(1).permutation(ROWS), np.full(8, 0.01)
    engines = [make(engine, model, weights, dtype) for engine in (Engine, Reference)]
    results = [engine.train_epoch(X, y, order, 4, lr, 7) for engine in engines]
    assert results[0].steps == results[1].steps == 8
    assert abs(results[0].loss - results[1].loss) <= tolerance
    for compiled, reference in zip(*(engine.weights() for engine in engines), strict=True):
        for a, b in zip(compiled, reference, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
    assert not np.allclose(engines[0].weights()[0][0], weights[0][0])


def test_settings_of_an_example_are_checked_like_built_in_ones():
    given = {"activation": "swish", "loss": "focal", "optimizer": {"name": "lion", "beta2": 0.9}}
    config = RunConfig.from_settings(given, "a test")
    assert config.optimizer.settings == {"beta1": 0.9, "beta2": 0.9, "weight_decay": 0.0}


# What a process of its own sees in files that are edited between two starts: the weights of both engines after an
# epoch (the reference compiles nothing, so it is never stale), and the name of the run.
PROBE = """
import json, pathlib, sys
import numpy as np
from harness.config import RunConfig
from harness.extensions import load_extensions
from harness.version import run_id
load_extensions([pathlib.Path(path) for path in sys.argv[1:]])
from test_extensions import Engine, NAMES, ROWS, Reference, make, problem
names = dict(zip(("activation", "loss", "optimizer"), NAMES))
model, weights, X, y = problem(**names)
found = []
for kind in (Engine, Reference):
    engine = make(kind, model, weights)
    loss = engine.train_epoch(X, y, np.arange(ROWS), 4, np.full(8, 0.01)).loss
    found.append([loss, *np.concatenate([part.ravel() for pair in engine.weights() for part in pair])])
names["optimizer"] = {"name": names["optimizer"]}
print(json.dumps([*found, run_id(RunConfig.from_settings(names, "a test"), "pixels")]))
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory):
    """Run PROBE on extension files, with a cache of compiled code of this module's own."""
    environment = {**os.environ, "ABLATION_BENCH_CACHE": str(tmp_path_factory.mktemp("cache"))}
    environment["PYTHONPATH"] = os.pathsep.join(["tests", "."])

    def run(paths: list[Path]) -> tuple[np.ndarray, np.ndarray, str]:
        command = [sys.executable, "-c", PROBE, *map(str, paths)]
        done = subprocess.run(
            command, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        compiled, reference, name = json.loads(done.stdout)
        return np.array(compiled), np.array(reference), name

    return run


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("swish.py", "return z / (1.0 + exp(-z))", "return 0.9 * z / (1.0 + exp(-z))"),
        ("swish.py", "return s + a * (1.0 - s)", "return s + a * (1.1 - s)"),
        ("focal.py", "GAMMA = 2.0", "GAMMA = 1.5"),
        ("focal.py", "total -= (1.0", "total -= 1.5 * (1.0"),
        ("lion.py", "h.beta2 * slots[0] +", "0.5 * h.beta2 * slots[0] +"),
    ],
)
def test_an_edit_of_an_example_is_served_from_no_cache(file, old, new, extensions, probe):
    before, reference, name = probe(extensions)
    np.testing.assert_allclose(before, reference, rtol=0, atol=1e-10)
    path = next(path for path in extensions if path.name == file)
    path.write_text(path.read_text().replace(old, new), encoding="utf-8")
    after, reference, other_name = probe(extensions)
    np.testing.assert_allclose(after, reference, rtol=0, atol=1e-10)
    assert np.abs(after - before).max() > 1e-4
    assert other_name != name


def test_an_edit_of_a_default_argument_of_a_loss_is_served_from_no_cache(extensions, probe):
    path = next(path for path in extensions if path.name == "focal.py")
    code = path.read_text().replace("labels, dlogits):", "labels, dlogits, gamma=2.0):").replace("GAMMA", "gamma")
    path.write_text(code, encoding="utf-8")
    before, _, name = probe(extensions)
    path.write_text(code.replace("gamma=2.0", "gamma=1.5"), encoding="utf-8")
    after, reference, other_name = probe(extensions)
    np.testing.assert_allclose(after, reference, rtol=0, atol=1e-10)
    assert np.abs(after - before).max() > 1e-4
    assert other_name != name


# --- loading -----------------------------------------------------------------------------------------------------

SWISH = """
from kernels.activations import Activation, register
register(Activation("halved", lambda z: z * 0.5, lambda z, a: 0.5 + 0.0 * a))
"""


@pytest.fixture
def write(tmp_path):
    return writer(tmp_path)


def test_extension_registers_what_the_settings_name(write, tmp_path):
    assert "unknown activation 'halved'" in complaint(load, write("[base]\nactivation='halved'"))
    write(SWISH, "halved.py")
    study = load(write("extensions = ['halved.py']\n[base]\nactivation = 'halved'"))
    assert study.variants["baseline"].activation == "halved"
    assert study.extensions == (tmp_path / "halved.py",)


def test_optimizer_of_an_extension_has_its_own_settings(write):
    write(
        """
        from kernels.optimizers import Optimizer, Setting, register
        register(Optimizer("scaled", lambda w, g, slots, h: (w - h.lr * g, ()),
                           lambda lr, t, s: {"lr": lr * s["scale"]}, 0, {"scale": Setting(2.0, "(0, 3]")}))
        """,
        "scaled.py",
    )
    study = load(write("extensions = ['scaled.py']\n[grid]\noptimizer = [{name='scaled'}, {name='scaled', scale=3}]"))
    assert [config.optimizer.settings for config in study.variants.values()] == [{"scale": 2.0}, {"scale": 3.0}]
    text = "extensions = ['scaled.py']\n[base]\noptimizer = {name='scaled', scale=4}"
    assert complaint(load, write(text)) == "my.toml, base: optimizer.scale = 4: must lie in (0, 3]"


def test_extension_runs_once_per_process(write, tmp_path, monkeypatch):
    write("import os\nos.environ['COUNT'] = str(int(os.environ.get('COUNT', 0)) + 1)\n", "count.py")
    monkeypatch.setenv("COUNT", "0")
    path = write("extensions = ['count.py', './count.py']")
    load(path)
    load(path)
    load_extensions([tmp_path / "count.py"])
    assert os.environ["COUNT"] == "1"


def test_extension_may_hold_dataclasses(write, tmp_path):
    write(
        """
        from __future__ import annotations
        import dataclasses
        @dataclasses.dataclass
        class Pair:
            a: int
        """,
        "pair.py",
    )
    load_extensions([tmp_path / "pair.py"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n\nx = undefined", ", line 3: NameError: name 'undefined' is not defined"),
        ("def f():\n    raise ValueError('a\\nb')\n\nf()", ", line 2: ValueError: a b"),
        ("x = 1\ndef f(:\n", ", line 2: SyntaxError: "),
        ("import no_such_module_at_all", ", line 1: ModuleNotFoundError: "),
        ("import sys\nsys.exit('x')", ", line 2: SystemExit: x"),
        ("def f():\n    f()\nf()", ", line 2: RecursionError: "),
        (SWISH.replace("halved", "relu"), ", line 3: ValueError: another activation is called 'relu'"),
        (None, ": FileNotFoundError: "),
    ],
)
def test_extension_that_fails_is_one_line_with_file_line_and_exception(write, tmp_path, text, message):
    if text is not None:
        write(text.encode(), "broken.py")
    before = set(sys.modules)
    found = complaint(load, write("extensions = ['broken.py']"))
    assert found.startswith(f"extension {tmp_path / 'broken.py'}{message}")
    assert not [name for name in set(sys.modules) - before if name.startswith("ablation_extension")]


def test_extension_that_failed_runs_again_once_mended(write, tmp_path):
    write("broken", "mended.py")
    assert complaint(load_extensions, [tmp_path / "mended.py"])
    write("x = 1", "mended.py")
    load_extensions([tmp_path / "mended.py"])
