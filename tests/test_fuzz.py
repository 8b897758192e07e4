"""Whatever comes in, by files, options or arrays: it works, or it is refused in one line; never a wrong result.

Each property here is checked on some cases with all tests, and on many more with the long ones, 10,000 in all.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from datafiles import CIFAR, IDX, TINY, cifar_members, empty_cache, idx_files, pixels_and_labels, tar_bytes, write_idx
from engines import make_engines
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from records import row
from test_config import setting_keys
from test_store import CIRCUMSTANCES, CONFIG, NAMES, result

from harness import ablate, cache, data, study, tracked
from harness.errors import UserError
from harness.extensions import load_extensions
from harness.formats import decode, locate
from harness.metrics import accuracy, confusion_matrix
from harness.session import Request
from harness.store import StoredRun, load_run, save_run
from harness.studyfile import available
from harness.summaries import summary_markdown
from harness.tables import from_csv, runs_frame, summary_frame, to_csv

HANG_SECONDS = 60

Check = Callable[..., None]


# ------------------------------------------------------------------------------------------------- what may come in

WORDS = [*("adam", "sgd", "relu", "gelu", "he", "none", "mse", "cosine", "80/10/10", "official", "numpy", "float64")]
NUMBERS = [0, 1, -1, 3, 64, 10, 2**40, 10**30, 0.5, -0.5, 1e-300, 1e308, float("nan"), float("inf"), True, False]
LEAVES = st.one_of(st.sampled_from([*WORDS, *NUMBERS, "", "\n", "\x00", "é", "<b>", "a" * 300]), st.text(max_size=8))
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KEYS = st.sampled_from([*setting_keys(), "optimizer", "data", "schedule", "optimizer.name", "optimizer.mu", "seed"])
SETTINGS = st.dictionaries(KEYS | st.text(max_size=6), VALUES, max_size=4)
NAMES_OF_VARIANTS = st.text(max_size=20) | st.sampled_from(
    ["..", ".", "/", "../../x", "a/b", "C:\\x", "~", "-rf", "CON", "a\x00b", "\x1b[31m", "<script>", "[red]", "𝄞" * 60]
)
PIECES = [
    *("[base]\n", "[variants.a]\n", "[grid]\n", "[[x]]\n", "hidden = [3]\n", 'activation = "relu"\n', "seeds = 2\n"),
    *("optimizer = { name = 'adam', lr = 0.1 }\n", "baseline = 'a'\n", "epochs = [1, 2]\n", "a.b.c = 1\n"),
    *("=", "[", "]", '"', "\n", "'''", "\x00", "#", "1e999", "0x", "inf", "é", "\ufeff", "title = '''\n'''\n"),
]


def toml(value: Any) -> str:
    """Write a value as TOML, as well as that is possible."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return json.dumps(value)


def damaged(raw: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes in which some places are cut out, doubled, overwritten or cut off; or others altogether."""

    @st.composite
    def change(draw: Any) -> bytes:
        content = draw(raw)
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, len(content)))
            n = draw(st.integers(1, 40))
            kind = draw(st.sampled_from(["cut", "double", "overwrite", "truncate", "insert"]))
            piece = draw(st.binary(min_size=1, max_size=n)) if kind in ("overwrite", "insert") else b""
            content = {
                "cut": content[:at] + content[at + n :],
                "double": content[: at + n] + content[at:],
                "overwrite": content[:at] + piece + content[at + len(piece) :],
                "truncate": content[:at],
                "insert": content[:at] + piece + content[at:],
            }[kind]
        return content

    return change() | st.binary(max_size=300)


# --------------------------------------------------------------------------------------------------- how it is judged


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def ask(*arguments: str) -> int:
    """Make a request that is only planned; it must be taken, or refused in one printable line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = ablate.main([*arguments, "--dry-run"])
    if status == 2:
        assert out.getvalue() == ""
        assert re.fullmatch(r"error: \S.*\n", err.getvalue()), err.getvalue()
        assert err.getvalue()[:-1].isprintable()
        assert len(err.getvalue()) < 6000
    else:
        assert (status, err.getvalue()) == (0, "")
    return status


def refusal(act: Callable[[], Any], *kinds: type[Exception]) -> bool:
    """Whether something is refused, in one line that is not empty."""
    message = "taken"
    try:
        act()
    except kinds as error:
        message = str(error)
    assert message.strip()
    assert len(message.splitlines()) == 1
    return message != "taken"


# ------------------------------------------------------------------------------------------------------ the properties


def study_files(folder: Path) -> Check:
    """A study's file: any bytes, pieces of TOML, any tree of keys and values, shipped files with damage."""
    shipped = [path.read_bytes() for path in available().values()]
    trees = st.fixed_dictionaries(
        {},
        optional={
            "title": LEAVES, "baseline": NAMES_OF_VARIANTS, "seeds": VALUES, "target_accuracy": VALUES,
            "extensions": VALUES, "base": SETTINGS | VALUES, "wrong": VALUES,
            "grid": st.dictionaries(KEYS, st.lists(VALUES, max_size=3)),
            "variants": st.dictionaries(NAMES_OF_VARIANTS, SETTINGS, max_size=3),
        },
    ).map(lambda tree: "\n".join(f"{key} = {toml(value)}" for key, value in tree.items()).encode())  # fmt: skip
    pieces = st.lists(st.sampled_from(PIECES), max_size=12).map(lambda parts: "".join(parts).encode())

    @given(trees | pieces | damaged(st.sampled_from(shipped)))
    def check(content: bytes) -> None:
        (folder / "mine.toml").write_bytes(content)
        before = files_of(folder)
        ask(str(folder / "mine.toml"), "--out", str(folder / "out"))
        assert files_of(folder) == before

    return check


def options(folder: Path) -> Check:
    """What is typed: settings, names, numbers, folders and stray words."""
    texts = st.text(max_size=12) | st.sampled_from(["", "-1", "0", "3", "1e3", "nan", "../x", "\x00", "--", "-", "é"])
    setting = st.tuples(KEYS | st.text(max_size=5), LEAVES.map(str) | VALUES.map(toml)).map("=".join)
    names = st.sampled_from(
        ["--epochs", "--seeds", "--limit", "--jobs", "--engine", "--precision", "--dataset", "--only"]
    )
    pairs = st.one_of(
        st.tuples(st.just("--set"), setting),
        st.tuples(names, texts | st.sampled_from([*WORDS, "1", "2"])),
        st.tuples(texts),
    )

    @given(st.lists(pairs, max_size=4), texts | st.sampled_from(["exp1", "exp2", "exp3"]))
    def check(chosen: list[tuple[str, ...]], name: str) -> None:
        words = [word for pair in chosen for word in pair]
        if {"--help", "-h", "--list"} & set(words) or name.startswith("-h"):
            return
        before = files_of(folder)
        ask(name, *words, "--out", str(folder / "out"))
        assert files_of(folder) == before

    return check


def names(folder: Path) -> Check:
    """Where a request's tables go is below the results folder, two folders deep, whatever its words."""

    @given(st.lists(NAMES_OF_VARIANTS, min_size=1, max_size=3, unique=True), SETTINGS, st.data())
    def check(variants: list[str], settings: dict[str, Any], draw: st.DataObject) -> None:
        only = draw.draw(st.lists(st.sampled_from(variants), max_size=2))
        tables = {name: {"epochs": i + 1} for i, name in enumerate(variants)}
        (folder / "mine.toml").write_text(f"variants = {toml(tables)}\n", encoding="utf-8", errors="surrogatepass")
        words = tuple(f"{key}={toml(value)}" for key, value in settings.items())
        try:
            made = study.load(str(folder / "mine.toml"), study.Overrides(only=tuple(only), settings=words))
        except UserError:
            return
        out = folder / "results"
        inside = Request(made, (), out=out).folder.resolve().relative_to(out.resolve())
        assert len(inside.parts) == 2
        assert str(inside).isprintable()
        assert all(len(part.encode()) <= 255 for part in inside.parts)

    return check


def hostile_texts(_: Path) -> Check:
    """Names in tables come back as they were, and shape neither Markdown, terminal nor tracking."""

    @given(st.lists(NAMES_OF_VARIANTS.filter(_encodable), min_size=1, max_size=4, unique=True), NAMES_OF_VARIANTS)
    def check(variants: list[str], title: str) -> None:
        frame = runs_frame([row(name, seed) for seed in range(2) for name in variants])
        assert list(from_csv(to_csv(frame))["variant"]) == list(frame["variant"])
        summary = summary_frame(frame, variants, variants[0], [])
        text = summary_markdown(summary, frame, title, variants[0])
        bars = [line for line in text.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in bars}) <= 2  # the table, and perhaps another one
        assert len(bars) == len(text.split("\n|")) - (not text.startswith("|"))
        assert not re.search(r"(?<!\\)<(?!br)", text)
        for name in variants:
            assert re.fullmatch(r"[A-Za-z0-9_.-]*", tracked.safe(name))
            assert len(tracked.short(name, 64)) <= 64

    return check


def _encodable(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def idx_data(folder: Path) -> Check:
    """Data files in the layout of Fashion-MNIST, any of them damaged: refused, or the pixels that they hold."""
    good = {**idx_files(), **{f"plain {name}": raw for name, raw in idx_files(zipped=False).items()}}

    @given(st.sampled_from(sorted(good)), st.data())
    def check(name: str, draw: st.DataObject) -> None:
        shutil.rmtree(folder / "files", ignore_errors=True)
        write_idx(folder / "files")
        content = draw.draw(damaged(st.just(good[name])))
        target = folder / "files" / name.removeprefix("plain ")
        if name.startswith("plain "):
            target.with_name(f"{target.name}.gz").unlink()
        target.write_bytes(content)
        _same_or_refused(TINY, folder / "files", *pixels_and_labels(IDX))

    return check


def cifar_data(folder: Path) -> Check:
    """An archive in the layout of CIFAR-10, damaged anywhere: refused, or the pixels that it holds."""
    members, X, y = cifar_members()
    plain = tar_bytes(members)
    (folder / "files").mkdir()

    @given(damaged(st.sampled_from([plain, gzip.compress(plain)])), st.booleans())
    def check(content: bytes, zip_it: bool) -> None:
        (folder / "files" / "cifar-10-binary.tar.gz").write_bytes(gzip.compress(content) if zip_it else content)
        _same_or_refused(CIFAR, folder / "files", X, y)

    return check


def _same_or_refused(spec: Any, folder: Path, X: np.ndarray, y: np.ndarray) -> None:
    files = locate(spec, folder)
    assert files is not None
    before = files_of(folder)

    def act() -> None:
        found = decode(spec, files)
        assert (found.X.shape, found.X.dtype, found.y.shape, found.y.dtype) == (X.shape, X.dtype, y.shape, y.dtype)
        assert found.y.max() < len(spec.class_names)
        official = np.array_equal(found.X, X) and np.array_equal(found.y, y)
        assert official or found.doubt is not None  # other pixels are never taken for the right ones

    refusal(act, UserError)
    assert files_of(folder) == before


def cache_entries(folder: Path) -> Check:
    """An entry of the data cache with any bytes in any of its files: not used, or what it was."""
    write_idx(folder / "files")
    entry = data.find("tiny", folder / "files").folder
    good = {name: (entry / name).read_bytes() for name in ("X.npy", "y.npy", "meta.json")}
    meta = json.loads(good["meta.json"])
    X, y = pixels_and_labels(IDX)
    other_arrays = st.sampled_from([np.asfortranarray(X), X[:, ::-1], X.astype(float), X[:0], X[:, :3], np.array([{}])])

    @st.composite
    def arrays(draw: Any) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, draw(other_arrays), allow_pickle=True)
        return buffer.getvalue()

    metas = st.dictionaries(st.sampled_from(sorted(meta)), VALUES, min_size=1, max_size=3)

    @given(st.sampled_from(sorted(good)), st.data())
    def check(name: str, draw: st.DataObject) -> None:
        for each, content in good.items():
            (entry / each).write_bytes(content)
        changes = damaged(st.just(good[name]))
        changes |= metas.map(lambda new: json.dumps({**meta, **new}).encode()) if name == "meta.json" else arrays()
        (entry / name).write_bytes(draw.draw(changes))
        found = cache.intact(entry)
        if found is not None and name != "meta.json":
            assert np.array_equal(found.X, X)
            assert np.array_equal(found.y, y)
        refusal(lambda: cache.open_cached(entry), UserError)

    return check


def stored_runs(folder: Path) -> Check:
    """A run's folder with any bytes in any of its files: no run, or the one that was stored; nothing is unpickled."""
    save_run(folder, "abc", CONFIG, result(), CIRCUMSTANCES)
    good = {name: (folder / "abc" / name).read_bytes() for name in NAMES}
    expected = repr(load_run(folder, "abc"))
    record = json.loads(good["result.json"])
    records = st.dictionaries(st.sampled_from(sorted(record)), VALUES, min_size=1, max_size=3)

    @given(st.sampled_from(NAMES), st.data())
    def check(name: str, draw: st.DataObject) -> None:
        changes = damaged(st.just(good[name]))
        if name == "result.json":
            changes |= records.map(lambda new: json.dumps({**record, **new}).encode())
        (folder / "abc" / name).write_bytes(draw.draw(changes))
        run = load_run(folder, "abc")
        assert run is None or repr(run) == expected
        refusal(StoredRun({}, [], folder / "abc").arrays, UserError)  # without looking at the seal
        (folder / "abc" / name).write_bytes(good[name])

    return check


def extensions(folder: Path) -> Check:
    """An extension that is no Python."""

    @given(damaged(st.just("from kernels.rules import exp\nclass C:\n    pass\nX = '''é'''\n".encode())))
    def check(content: bytes) -> None:
        for name in [name for name in sys.modules if name.startswith("ablation_extension_")]:
            del sys.modules[name]
        (folder / "mine.py").write_bytes(content)
        refusal(lambda: load_extensions([folder / "mine.py"]), UserError)

    return check


@st.composite
def arrays_of_any_kind(draw: Any, shape: tuple[int, ...], values: st.SearchStrategy[Any]) -> np.ndarray:
    """An array of some dtype, layout and kind of memory."""
    kinds = ["u1", "i1", "?", "<i8", ">i8", "<u8", "f2", "<f4", ">f4", "<f8", "c8", "O", "U2", "M8[s]"]
    weights = [*kinds, "u1", "u1", "<f4", "<f8", "<i8", "<i8"]
    a = np.array([draw(values) for _ in range(int(np.prod(shape)))], dtype=float).reshape(shape)
    with np.errstate(all="ignore"):
        a = a.astype(draw(st.sampled_from(weights)))
    layout = draw(st.sampled_from(["C", "F", "reversed", "strided", "read-only", "memory map", "unaligned"]))
    if layout == "F":
        a = np.asfortranarray(a)
    elif layout == "reversed":
        a = a[::-1].copy()[::-1]
    elif layout == "strided":
        a = np.repeat(a, 2, axis=-1)[..., ::2]
    elif layout == "read-only":
        a.setflags(write=False)
    elif layout == "memory map" and a.dtype != object and a.size:
        path = Path(os.environ["FUZZ_FOLDER"]) / "map"
        a.tofile(path)
        a = np.memmap(path, a.dtype, "r", shape=a.shape)
    elif layout == "unaligned" and a.dtype != object:
        raw = np.empty(a.nbytes + 1, np.uint8)[1:]
        raw[:] = np.frombuffer(a.tobytes(), np.uint8)
        a = raw.view(a.dtype).reshape(a.shape)
    return a


def arrays(folder: Path) -> Check:
    """Data, labels and rows for both engines' twin, the compiled one: refused, or the same as clean copies give."""
    os.environ["FUZZ_FOLDER"] = str(folder)
    sizes = (3, 4, 2)
    pixels = st.sampled_from([0, 1, 7, 255, -1, 0.5, 1e30, -1e30, float("nan"), float("inf"), float("-inf")])
    labels = st.sampled_from([0, 1] * 12 + [2, -1, 0.5, float("nan"), 1e18])
    lengths = st.sampled_from([0, 1, 2, 5, 9])

    @given(st.data(), lengths, st.sampled_from([3] * 9 + [2, 4]), lengths, st.sampled_from([np.float32, np.float64]))
    def check(draw: st.DataObject, n: int, d: int, k: int, dtype: Any) -> None:
        X = draw.draw(arrays_of_any_kind((n, d), pixels if draw.draw(st.booleans()) else st.sampled_from([0, 1, 255])))
        y = draw.draw(arrays_of_any_kind((draw.draw(st.sampled_from([n] * 9 + [n + 1])),), labels))
        rows = st.sampled_from([*range(max(n, 1))] * 5 + [n, -1, 0.5])
        order = draw.draw(arrays_of_any_kind((k,), rows))
        engines = [make_engines(sizes, dtype)[0] for _ in range(2)]

        def act() -> None:
            got = engines[0].train_epoch(X, y, order, 4, np.full(-(-k // 4), 0.1))
            seen = engines[0].evaluate(X, y, order)
            assert X.shape[1:] == (3,)
            clean_X = np.array(X.tolist(), np.uint8 if X.dtype == np.uint8 else dtype).reshape(n, 3)
            clean_y, clean_order = (np.array([int(v) for v in a.tolist()], np.int64) for a in (y, order))
            assert set(clean_y.tolist()) <= {0, 1}
            want = engines[1].train_epoch(clean_X, clean_y, clean_order, 4, np.full(-(-k // 4), 0.1))
            also = engines[1].evaluate(clean_X, clean_y, clean_order)
            assert repr(got) == repr(want)
            np.testing.assert_array_equal(seen.logits, also.logits)
            np.testing.assert_array_equal(seen.predictions, also.predictions)
            assert got.finite == bool(np.isfinite(got.loss) or not k)

        with np.errstate(all="ignore"):
            refusal(act, ValueError)

    return check


def confusions(_: Path) -> Check:
    """Labels and predictions of any kind: refused, or every one counted once."""
    some = hnp.arrays(
        st.sampled_from([np.int64, np.uint8, np.int8, np.float64, np.bool_]),
        hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=6),
    )

    @given(some, some, st.integers(1, 300))
    def check(labels: np.ndarray, predictions: np.ndarray, n_classes: int) -> None:
        def act() -> None:
            counts = confusion_matrix(labels, predictions, n_classes)
            assert counts.sum() == len(labels)
            assert counts.shape == (n_classes, n_classes)
            for true, predicted in zip(labels.tolist(), predictions.tolist(), strict=True):
                assert counts[int(true), int(predicted)] >= 1
            share = accuracy(counts)
            assert np.isnan(share) if not len(labels) else 0 <= share <= 1

        refusal(act, ValueError)

    return check


# Properties, and how many cases of each the long tests try.
PROPERTIES = {
    study_files: 2500, options: 1500, names: 600, hostile_texts: 400, idx_data: 1000, cifar_data: 700,
    cache_entries: 700, stored_runs: 1200, extensions: 200, arrays: 700, confusions: 500,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a property writes, with a cache of its own; a case that hangs is an error."""

    def hang(*_: object) -> None:
        raise AssertionError("a case hangs")

    empty_cache(tmp_path / "cache", monkeypatch)
    monkeypatch.setenv("FUZZ_FOLDER", str(tmp_path))
    before = signal.signal(signal.SIGALRM, hang)
    (tmp_path / "space").mkdir()
    yield tmp_path / "space"
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def try_cases(make: Callable[[Path], Check], folder: Path, n_cases: int) -> None:
    """Check a property on so many cases; a failure prints the case, and what makes it again."""
    check = make(folder)
    inner = check.hypothesis.inner_test

    def bounded(*arguments: Any, **named: Any) -> None:
        signal.alarm(HANG_SECONDS)
        inner(*arguments, **named)
        signal.alarm(0)

    check.hypothesis.inner_test = bounded
    limits = hypothesis.settings(
        max_examples=n_cases, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck)
    )
    limits(check)()


@pytest.mark.parametrize("make", PROPERTIES, ids=lambda make: make.__name__)
def test_some_cases_work_or_are_refused_in_one_line(make, folder):
    try_cases(make, folder, 30)


@pytest.mark.long
@pytest.mark.parametrize("make", PROPERTIES, ids=lambda make: make.__name__)
def test_many_cases_work_or_are_refused_in_one_line(make, folder):
    try_cases(make, folder, PROPERTIES[make])


def test_the_long_tests_try_ten_thousand_cases():
    assert sum(PROPERTIES.values()) >= 10_000
