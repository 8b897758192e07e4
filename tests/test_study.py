"""Studies: expansion, overrides, names of folders, extensions, and one line for whatever is wrong."""

import dataclasses
import os
import random
import sys
import textwrap
from pathlib import Path

import pytest

import harness.study
from harness.config import RunConfig, parse_toml
from harness.errors import UserError
from harness.study import Overrides, available, headline, load, load_extensions
from kernels import activations, losses, optimizers

EXP3_RATES = {"sgd": 0.1, "sgd untuned": 0.01, "momentum": 0.02, "rmsprop": 0.001, "adam": 0.001}


@pytest.fixture
def write(tmp_path):
    """Write a study file; gives its path as a user would type it."""

    def write_file(text: str | bytes, name: str = "my.toml") -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return str(path)

    return write_file


@pytest.fixture
def registries(monkeypatch):
    """Let a test register things without leaving them behind."""
    monkeypatch.setattr(activations, "ACTIVATIONS", activations.ACTIVATIONS.copy())
    monkeypatch.setattr(losses, "LOSSES", losses.LOSSES.copy())
    before = dict(optimizers.OPTIMIZERS)
    yield
    optimizers.OPTIMIZERS.clear()
    optimizers.OPTIMIZERS.update(before)


def complaint(act, *arguments) -> str:
    """The one line with which a call fails."""
    with pytest.raises(UserError) as caught:
        act(*arguments)
    message = str(caught.value)
    assert message
    assert len(message.splitlines()) == 1
    return message


# --- shipped studies ---------------------------------------------------------------------------------------------


def test_shipped_studies_are_found_by_name_in_order():
    assert list(available()) == sorted(available())
    assert {"exp1", "exp2", "exp3"} <= set(available())
    assert all(path.is_file() for path in available().values())


@pytest.mark.parametrize("name", available())
def test_shipped_study_is_valid_and_says_what_it_asks(name):
    study = load(name)
    assert study.name == name
    assert study.title != name
    assert study.question.endswith("?")
    assert study.expectation
    assert study.changes == ()
    assert study.folder_name() == "fashion-mnist"
    assert study.path == available()[name]
    assert headline(study.path) == (study.title, study.question)


def test_exp1_is_the_baseline_network():
    (config,) = load("exp1").variants.values()
    assert config == RunConfig()
    assert load("exp1").seeds == 5


def test_exp2_changes_the_activation_alone():
    study = load("exp2")
    assert study.factor_keys == ["activation"]
    assert {config.activation for config in study.variants.values()} >= {"relu", "sigmoid", "tanh", "gelu", "softmax"}
    assert (study.baseline, study.seeds) == ("relu", 10)
    assert study.variants["relu"] == RunConfig()


def test_exp3_changes_the_optimizer_and_its_rate_alone():
    study = load("exp3")
    assert study.factor_keys == ["optimizer.name", "optimizer.lr"]
    assert list(study.variants) == list(EXP3_RATES)
    assert (study.baseline, study.seeds) == ("sgd", 10)
    assert study.variants["sgd untuned"].optimizer.lr < study.variants["sgd"].optimizer.lr
    assert study.variants["adam"] == RunConfig()


# --- expansion ---------------------------------------------------------------------------------------------------


def test_empty_file_is_a_study_of_the_default_network(write):
    study = load(write(""))
    assert study.variants == {"baseline": RunConfig()}
    assert (study.name, study.title, study.baseline, study.extensions) == ("my", "my", None, ())


def test_texts_are_taken_from_the_file(write):
    path = write('title=" T "\nquestion="Q?"\nexpectation="E"\nfinding="F"\nseeds=2')
    study = load(path)
    assert (study.title, study.question, study.expectation, study.finding, study.seeds) == ("T", "Q?", "E", "F", 2)
    assert study.path == Path(path)


def test_byte_order_mark_is_no_part_of_the_file(write):
    assert load(write(b'\xef\xbb\xbftitle = "T"')).title == "T"


def test_variants_lie_over_the_base_in_the_order_of_the_file(write):
    study = load(
        write("""
        baseline = "b"
        [base]
        epochs = 3
        optimizer = { name = "momentum", lr = 0.5, mu = 0.8 }
        [variants.b]
        [variants."a, plain"]
        optimizer.name = "sgd"
        [variants.c]
        "optimizer.mu" = 0.7
        l2 = 1
        """)
    )
    assert list(study.variants) == ["b", "a, plain", "c"]
    assert [config.epochs for config in study.variants.values()] == [3, 3, 3]
    optimizers_ = [config.optimizer.model_dump() for config in study.variants.values()]
    assert optimizers_ == [
        {"name": "momentum", "lr": 0.5, "mu": 0.8},
        {"name": "sgd", "lr": 0.5},
        {"name": "momentum", "lr": 0.5, "mu": 0.7},
    ]
    assert study.factor_keys == ["l2", "optimizer.name", "optimizer.mu"]
    assert study.baseline == "b"


def test_grid_is_the_product_of_its_lists(write):
    study = load(
        write("""
        baseline = "l2=0, optimizer.lr=0.1"
        [grid]
        l2 = [0, 0.001]
        optimizer.lr = [0.01, 0.1]
        """)
    )
    assert {name: (c.l2, c.optimizer.lr) for name, c in study.variants.items()} == {
        "l2=0, optimizer.lr=0.01": (0.0, 0.01),
        "l2=0, optimizer.lr=0.1": (0.0, 0.1),
        "l2=0.001, optimizer.lr=0.01": (0.001, 0.01),
        "l2=0.001, optimizer.lr=0.1": (0.001, 0.1),
    }
    assert study.factor_keys == ["l2", "optimizer.lr"]
    assert study.baseline == "l2=0, optimizer.lr=0.1"


def test_quoted_dotted_keys_of_a_grid_are_nested_ones(write):
    assert (
        load(write('[grid]\n"optimizer.lr" = [1, 2]')).variants == load(write("[grid.optimizer]\nlr = [1, 2]")).variants
    )


def test_grid_runs_for_every_variant(write):
    study = load(write("[variants.adam]\n[variants.sgd]\noptimizer.name='sgd'\n[grid]\nl2 = [0, 1]"))
    assert list(study.variants) == ["adam, l2=0", "adam, l2=1", "sgd, l2=0", "sgd, l2=1"]
    assert [config.optimizer.name for config in study.variants.values()] == ["adam", "adam", "sgd", "sgd"]


def test_grid_names_show_layers_words_and_tables_plainly(write):
    study = load(
        write("""
        [grid]
        hidden = [64, [64, 32]]
        clip_norm = ["none", 1]
        data.standardise = [true]
        optimizer = [{ name = "sgd", lr = 0.1 }]
        """)
    )
    common = "data.standardise=true, optimizer=name=sgd lr=0.1"
    assert list(study.variants) == [
        f"hidden={hidden}, clip_norm={clip}, {common}" for hidden in ("64", "64x32") for clip in ("none", "1")
    ]
    assert [c.clip_norm for c in study.variants.values()] == [None, 1.0, None, 1.0]


def test_runs_are_scheduled_variant_by_variant_within_a_seed(write):
    study = load(write("seeds=2\n[grid]\nl2=[0, 1]"))
    assert [(run.variant, run.config.seed) for run in study.runs()] == [
        ("l2=0", 0),
        ("l2=1", 0),
        ("l2=0", 1),
        ("l2=1", 1),
    ]
    assert [run.config.l2 for run in study.runs()] == [0.0, 1.0, 0.0, 1.0]
    assert {config.seed for config in study.variants.values()} == {0}
    assert len({run.config.run_hash() for run in study.runs()}) == 4
    assert len({run.config.cell_key() for run in study.runs()}) == 2


def test_factor_keys_leave_out_what_only_one_optimizer_has(write):
    text = "[grid]\noptimizer = [{name='adam'}, {name='rmsprop', eps=1e-7}, {name='sgd'}]\nbatch_size=[32, 64]"
    assert load(write(text)).factor_keys == ["batch_size", "optimizer.name", "optimizer.eps"]


# --- overrides ---------------------------------------------------------------------------------------------------


def test_overrides_win_in_every_variant():
    wanted = Overrides(
        dataset="cifar-10",
        epochs=5,
        seeds=3,
        limit=1000,
        engine="numpy",
        precision="float64",
        settings=("l2=1e-3", "optimizer.lr=2", "hidden=[64,32]"),
        only=("adam", "sgd"),
    )
    study = load("exp3", wanted)
    assert list(study.variants) == ["sgd", "adam"]
    for config in study.variants.values():
        assert (config.dataset, config.epochs, config.data.limit) == ("cifar-10", 5, 1000)
        assert (config.engine, config.precision, config.l2) == ("numpy", "float64", 0.001)
        assert (config.optimizer.lr, config.hidden) == (2.0, (64, 32))
    assert study.seeds == 3
    assert study.changes == (
        *("engine=numpy", "epochs=5", "hidden=64x32", "l2=0.001", "limit=1000", "optimizer.lr=2.0"),
        *("precision=float64", "seeds=3", "only=sgd,adam"),
    )
    assert study.baseline == "sgd"
    assert study.finding == load("exp3").finding


def test_folder_is_the_data_set_and_what_changed():
    assert load("exp3", Overrides(dataset="cifar-10")).folder_name() == "cifar-10"
    assert load("exp3", Overrides(epochs=5, limit=1000)).folder_name() == "fashion-mnist+epochs=5,limit=1000"
    assert load("exp3", Overrides(only=("adam",))).folder_name() == "fashion-mnist+only=adam"


@pytest.mark.parametrize(
    "overrides",
    [
        Overrides(epochs=20),
        Overrides(seeds=10),
        Overrides(dataset="fashion-mnist"),
        Overrides(dataset="cifar-10"),
        Overrides(engine="numba", precision="float32"),
        Overrides(only=tuple(EXP3_RATES)),
        Overrides(settings=("l2=0", "hidden=[128]", "hidden=128", "data.limit=none", "batch_size=64")),
        Overrides(settings=("epochs=5", "epochs=20")),
        Overrides(settings=("dataset=cifar-10",)),
    ],
)
def test_change_that_changes_nothing_is_none(overrides):
    assert load("exp3", overrides).changes == ()


def test_change_is_one_when_it_changes_any_variant(write):
    path = write("[variants.a]\nl2=1\n[variants.b]\ndropout=0.5\nl2=2")
    assert load(path, Overrides(settings=("l2=2",))).changes == ("l2=2.0",)
    assert load(path, Overrides(settings=("l2=2",), only=("b",))).changes == ("only=b",)


def test_same_change_in_other_words_has_the_same_folder():
    requests = [
        Overrides(epochs=5, limit=10, settings=("l2=0.001",)),
        Overrides(settings=("l2=1e-3", "data.limit=10", "epochs=5")),
        Overrides(epochs=7, settings=("data={limit=10}", "l2 = 0.0010", "epochs=5")),
    ]
    assert len({load("exp3", request).folder_name() for request in requests}) == 1


def test_order_of_settings_does_not_matter():
    one = load("exp3", Overrides(settings=("optimizer.mu=0.5", "optimizer.name=momentum"), only=("sgd", "adam")))
    two = load("exp3", Overrides(settings=("optimizer.name=momentum", "optimizer.mu=0.5"), only=("adam", "sgd")))
    assert one == two
    assert [c.optimizer.settings for c in one.variants.values()] == [{"mu": 0.5}, {"mu": 0.5}]
    assert [c.optimizer.lr for c in one.variants.values()] == [0.1, 0.001]


def test_baseline_that_is_not_kept_is_none():
    assert load("exp3", Overrides(only=("adam", "momentum"))).baseline is None


def test_no_two_requests_share_a_folder(write):
    path = write('[variants."a b"]\n[variants.a_b]\nl2=1\n[variants."a,b"]\nl2=2\n[variants."seeds=3"]\nl2=3')
    names = list(load(path).variants)
    requests = [Overrides(only=(name,)) for name in names]
    requests += [Overrides(only=(names[0], name)) for name in names[1:]]
    requests += [Overrides(only=(name,), seeds=3) for name in names]
    folders = [load(path, request).folder_name() for request in requests]
    assert len(set(folders)) == len(folders)


def test_name_of_a_folder_is_safe_and_short(write):
    names = ["../../etc", "a/b\\c", "CON", ".", "..", "~", "$HOME `x`", "é" * 50, "x" * 100, "-rf *", "a:b|c<d>"]
    path = write("".join(f"[variants.'{name}']\nl2={i}\n" for i, name in enumerate(names)))
    for kept in [*((name,) for name in names), names[:9], ("a/b\\c", "..")]:
        study = load(path, Overrides(only=tuple(kept), settings=("optimizer.lr=0.12345678901234567",)))
        for name in (*study.changes, study.folder_name()):
            assert len(name) <= 100
            assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._=+,~-")
            assert name[0].isalnum()


def test_overrides_are_compared_with_what_the_file_says(write):
    path = write("[base]\nepochs=5\ndata.limit=100")
    assert load(path, Overrides(epochs=5, limit=100)).changes == ()
    assert load(path, Overrides(settings=("data.limit=none",))).changes == ("limit=none",)


# --- errors in the request ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (Overrides(epochs=0), "--epochs: epochs = 0: must lie in [1, 1e9]"),
        (Overrides(limit=-1), "--limit: data.limit = -1: must lie in [1, 1e9]"),
        (Overrides(seeds=0), "--seeds = 0: must be a whole number in [1, 100000]"),
        (
            Overrides(engine="numpi"),
            "unknown engine 'numpi' in --engine (did you mean 'numpy'?); allowed: numba, numpy",
        ),
        (Overrides(precision="float"), "unknown precision 'float' in --precision (did you mean 'float"),
        (Overrides(dataset="mnist"), "unknown dataset 'mnist' in --dataset (did you mean 'fashion-mnist'?)"),
        (
            Overrides(only=("admn",)),
            "unknown variant 'admn' in --only (did you mean 'adam'?); allowed: adam, momentum, ",
        ),
        (Overrides(settings=("optimizer.lr=-1.0",)), "--set: optimizer.lr = -1.0: must lie in (0, inf)"),
        (Overrides(settings=("optimizer.lr=fast",)), "--set: optimizer.lr = 'fast': must be a number in (0, inf)"),
        (Overrides(settings=("epoch=5",)), "unknown setting 'epoch' in --set (did you mean 'epochs'?); allowed: "),
        (
            Overrides(settings=("optimizer.mu=0.5",)),
            "unknown sgd setting 'optimizer.mu' in --set; allowed: optimizer.lr",
        ),
        (Overrides(settings=("optimizer=adam",)), "--set: optimizer = 'adam': must be a table"),
        (Overrides(settings=("seed=5",)), "--set: seed = 5: a study runs seeds 0 to N-1: "),
        (Overrides(settings=("seeds=5",)), "--set: seeds = 5: a study runs seeds 0 to N-1: "),
        (Overrides(settings=("epochs",)), "--set 'epochs': must read key=value"),
        (Overrides(settings=("a.b.c=1",)), "unknown setting 'a.b.c' in --set"),
        (
            Overrides(settings=("optimizer.lr=0.1",)),
            "exp3.toml with --set: variants 'sgd' and 'sgd untuned' have the same settings",
        ),
    ],
)
def test_wrong_request_is_one_line_that_names_option_value_and_rule(overrides, message):
    assert complaint(load, "exp3", overrides).startswith(message)


def test_overrides_that_leave_variants_alike_are_fine_when_one_is_kept():
    assert load("exp3", Overrides(settings=("optimizer.lr=0.1",), only=("sgd untuned",))).changes


def test_unknown_study_is_answered_with_the_nearest_and_the_shipped():
    message = complaint(load, "exp33")
    assert message.startswith("unknown study 'exp33' (did you mean 'exp3'?); allowed: exp1, exp2, exp3")
    assert message.endswith("; or the path of a .toml file")
    for name in ("", "EXP9", "x\ny", "\x00", ".", "..", "results"):
        assert complaint(load, name).startswith("unknown study ")


# --- errors in the file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "titel = 'x'",
            "unknown key 'titel' in my.toml (did you mean 'title'?); allowed: base, baseline, expectation, ",
        ),
        ("title = 3", "my.toml: title = 3: must be a text"),
        ("question = ['x']", "my.toml: question = ['x']: must be a text"),
        ("expectation = true", "my.toml: expectation = True: must be a text"),
        ("finding = 1.5", "my.toml: finding = 1.5: must be a text"),
        ("baseline = 3", "my.toml: baseline = 3: must be a text"),
        ("baseline = 'adma'\n[variants.adam]", "unknown variant 'adma' in my.toml, baseline (did you mean 'adam'?); "),
        ("seeds = 0", "my.toml: seeds = 0: must be a whole number in [1, 100000]"),
        ("seeds = -1", "my.toml: seeds = -1: must be a whole number"),
        ("seeds = 2.0", "my.toml: seeds = 2.0: must be a whole number"),
        ("seeds = true", "my.toml: seeds = True: must be a whole number"),
        ("seeds = '5'", "my.toml: seeds = '5': must be a whole number"),
        ("seeds = 100001", "my.toml: seeds = 100001: must be a whole number"),
        ("seeds = [0, 1]", "my.toml: seeds = [0, 1]: must be a whole number"),
        ("extensions = 'x.py'", "my.toml: extensions = 'x.py': must be a list of paths"),
        ("extensions = [3]", "my.toml: extensions = [3]: must be a list of paths"),
        ("base = 3", "my.toml: base = 3: must be a table"),
        ("variants = ['adam', 'sgd']", "my.toml: variants = ['adam', 'sgd']: must be a table"),
        ("[[variants]]\nl2 = 1", "my.toml: variants = [{'l2': 1}]: must be a table"),
        ("[variants]\nadam = 3", "my.toml: variants.adam = 3: must be a table"),
        ("grid = 3", "my.toml: grid = 3: must be a table"),
        ("[grid]\nl2 = 0.1", "my.toml, grid: l2 = 0.1: must be a list of one or more values"),
        ("[grid]\noptimizer.lr = 0.1", "my.toml, grid: optimizer.lr = 0.1: must be a list of one or more values"),
        ("[grid]\nl2 = []", "my.toml, grid: l2 = []: must be a list of one or more values"),
        ("[grid]\ndata = {}", "my.toml, grid: data = {}: must be a list of one or more values"),
        ("[grid]\nl2 = [0, 0]", "my.toml, grid: variant 'l2=0' is listed twice"),
        ("[grid]\nl2 = [1, 1.0]", "my.toml: variants 'l2=1' and 'l2=1.0' have the same settings"),
        ("[grid]\nl2 = [0, -1]", "my.toml, grid: l2 = -1: must lie in [0, inf)"),
        (
            "[grid]\nepoch = [1]",
            "unknown setting 'epoch' in my.toml, grid (did you mean 'epochs'?); allowed: activation, ",
        ),
        ("[grid]\n'optimizer.lr' = [1]\noptimizer.lr = [2]", "my.toml, grid: 'optimizer.lr' is given twice"),
        ("[grid]\nactivation = ['rellu']", "unknown activation 'rellu' in my.toml, grid (did you mean 'relu'?); "),
        ("[grid]\na.b.c = [1]", "unknown setting 'a.b.c' in my.toml, grid"),
        ("[variants.a]\n[variants.b]", "my.toml: variants 'a' and 'b' have the same settings"),
        ("[variants.a]\nl2 = 0\n[variants.b]", "my.toml: variants 'a' and 'b' have the same settings"),
        ("[base]\nactivatoin = 'relu'", "unknown setting 'activatoin' in my.toml, base (did you mean 'activation'?); "),
        ("[base]\nepochs = '10'", "my.toml, base: epochs = '10': must be a whole number in [1, 1e9]"),
        ("[base]\nepochs = 2020-01-01", "my.toml, base: epochs = datetime.date(2020, 1, 1): must be a whole number"),
        ("[base]\nseed = 3", "my.toml, base: seed = 3: a study runs seeds 0 to N-1: write seeds = N"),
        ("[grid]\nseed = [3, 4]", "my.toml, grid: seed = 3: a study runs seeds"),
        ("[base]\n'optimizer.lr' = 1\noptimizer.lr = 2", "my.toml, base: 'optimizer.lr' is given twice"),
        ("[variants.adam]\noptimizer.lr = -1.0", "my.toml, variants.adam: optimizer.lr = -1.0: must lie in (0, inf)"),
        ("[variants.x]\noptimizer={name='sgd', mu=1}", "unknown sgd setting 'optimizer.mu' in my.toml, variants.x; "),
        ("[base]\nl2=-1\n[variants.x]\nepochs=3", "my.toml, base: l2 = -1: must lie in [0, inf)"),
        (
            "[variants.a]\n[variants.b]\ndataset='cifar-10'",
            "my.toml: dataset differs among variants (cifar-10, fashion-",
        ),
        ("[variants.'']", "my.toml, variants: '' cannot name a variant; allowed: 1 to 100 printable characters"),
        ("[variants.'  ']", "my.toml, variants: '  ' cannot name a variant"),
        ('[variants."a\\nb"]', "my.toml, variants: 'a\\nb' cannot name a variant"),
        ('[variants."a\\u001b[31m"]', "my.toml, variants: 'a\\x1b[31m' cannot name a variant"),
        (f"[variants.{'x' * 101}]", "my.toml, variants: 'xxx"),
        ('[grid]\nactivation = ["a\\nb"]', "my.toml, grid: 'activation=a\\nb' cannot name a variant"),
    ],
)
def test_wrong_file_is_one_line_that_names_place_value_and_rule(write, text, message):
    assert complaint(load, write(text)).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = 'x'\n\nl2 = 1e", "my.toml: line 3, column 7: "),
        ("seeds = ", "my.toml: "),
        ("a = 1\na = 2\n", "my.toml: "),
        ("x = '\x01'", "my.toml: line 1, column "),
        ("seeds = " + "9" * 5000, "my.toml: "),
        ("seeds = " + "[" * 100_000, "my.toml: "),
        (b"title = '\xff'", "my.toml: is not UTF-8 text (byte 9)"),
        ("title = 'x'".encode("utf-16"), "my.toml: is not UTF-8 text"),
    ],
)
def test_file_that_is_no_toml_is_one_line_with_the_position(write, text, message):
    assert complaint(load, write(text)).startswith(message)
    assert complaint(headline, Path(write(text))).startswith(message)


def test_deep_and_huge_files_make_a_short_line(write):
    for text in (
        "[base]\n" + ".".join("a" * 3000) + " = 1",
        "[grid]\n" + ".".join("a" * 3000) + " = [1]",
        "seeds = 0x" + "f" * 5000,
        "[grid]\nl2 = [0x" + "f" * 5000 + "]",
        "[grid]\nhidden = [[0x" + "f" * 5000 + "]]",
        "x" * 10_000 + " = 1",
    ):
        assert len(complaint(load, write(text))) < 1000


def test_grid_of_more_than_100000_cells_is_refused_before_it_is_built(write):
    values = ", ".join(map(str, range(1, 1001)))
    text = f"[grid]\nepochs = [{values}]\nbatch_size = [{values}]\nhidden = [{values}]"
    message = complaint(load, write(text))
    assert message == "my.toml, grid: 1000000000 cells; at most 100000 are allowed"
    assert len(load(write(f"[grid]\nepochs = [{values}]")).variants) == 1000


def test_missing_file_folder_pipe_and_loop_are_named(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "loop.toml").symlink_to(tmp_path / "loop.toml")
    for name, reason in (
        ("missing.toml", "there is no such file; shipped studies: exp1, exp2, exp3"),
        ("folder.toml", "is a folder"),
        ("pipe.toml", "is not a regular file"),
        ("loop.toml", "cannot be read: "),
        ("x" * 300 + ".toml", "cannot be read: "),
    ):
        assert complaint(load, str(tmp_path / name)).startswith(f"{tmp_path / name}: {reason}")
    assert "'" in complaint(load, "new\nline/missing.toml")
    assert complaint(load, "a\x00b/x.toml")


def test_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = tmp_path / "my.toml"
    path.write_text("")

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # file modes do not stop root
    assert complaint(load, str(path)) == f"{path}: cannot be read: Permission denied"


@pytest.mark.parametrize(
    "name", ["-x.toml", ".toml", "..toml", "a b.toml", "é.toml", "a\nb.toml", "a;b.toml", "_a.toml"]
)
def test_file_whose_name_is_no_safe_folder_is_refused(write, name):
    message = complaint(load, write("", name))
    assert "cannot name a study; allowed: letters, digits" in message


def test_study_cannot_take_the_folder_of_the_runs(write):
    assert "cannot name a study" in complaint(load, write("", "runs.toml"))
    assert "cannot name a study" in complaint(load, write("", "Runs.toml"))


@pytest.mark.parametrize("name", ["a.toml", "A-1_b.c.toml", "9.toml"])
def test_study_is_named_after_its_file(write, name):
    assert load(write("", name)).name == name.removesuffix(".toml")


def test_relative_path_is_taken_from_the_working_folder(write, tmp_path, monkeypatch):
    write("title = 'T'")
    monkeypatch.chdir(tmp_path)
    assert load("my.toml").path == tmp_path / "my.toml"
    assert load("./my.toml").title == "T"


# --- extensions --------------------------------------------------------------------------------------------------

SWISH = """
from kernels.activations import Activation, register
register(Activation("halved", lambda z: z * 0.5, lambda z, a: 0.5 + 0.0 * a))
"""


def test_extension_registers_what_the_settings_name(write, tmp_path, registries):
    assert "unknown activation 'halved'" in complaint(load, write("[base]\nactivation='halved'"))
    write(SWISH, "halved.py")
    study = load(write("extensions = ['halved.py']\n[base]\nactivation = 'halved'"))
    assert study.variants["baseline"].activation == "halved"
    assert study.extensions == (tmp_path / "halved.py",)


def test_optimizer_of_an_extension_has_its_own_settings(write, registries):
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


def test_listing_looks_at_nothing_but_the_headline(write):
    path = write("title = 'T'\nquestion = 'Q'\nextensions = ['missing.py']\nseeds = -1\n[base]\nl2 = -1")
    assert headline(Path(path)) == ("T", "Q")


# --- junk --------------------------------------------------------------------------------------------------------

FRAGMENTS = (
    *(
        "title",
        "seeds",
        "base",
        "variants",
        "grid",
        "extensions",
        "baseline",
        "l2",
        "optimizer",
        "name",
        "lr",
        "hidden",
    ),
    *(
        "=",
        "=",
        "=",
        ".",
        ",",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "\n",
        "\n",
        "\n",
        " ",
        "#",
        "'",
        '"',
        '"""',
        "\\",
        "\x00",
    ),
    *(
        "0",
        "1",
        "-1",
        "0.5",
        "nan",
        "inf",
        "true",
        "1e400",
        "'adam'",
        "'relu'",
        '"\\n"',
        "2020-01-01",
        "é",
        "[1]",
        "{}",
    ),
)


def value_text(rng: random.Random, depth: int = 0) -> str:
    """A TOML value."""
    kind = rng.random()
    if depth > 2 or kind < 0.6:
        return rng.choice(
            ["0", "1", "-1", "0.5", "nan", "true", "'adam'", "'sgd'", "'relu'", "''", "'none'", "[]", "{}"]
        )
    items = [value_text(rng, depth + 1) for _ in range(rng.randrange(3))]
    if kind < 0.85:
        return f"[{', '.join(items)}]"
    return f"{{{', '.join(f'{key} = {item}' for key, item in zip(('name', 'lr', 'l2'), items, strict=False))}}}"


def study_text(rng: random.Random) -> str:
    """Valid TOML that may or may not be a study."""
    keys = ("l2", "dropout", "hidden", "epochs", "activation", "optimizer", "data", "nonsense")
    dotted = ("optimizer.lr", "optimizer.mu", "data.limit", "schedule.name", "'optimizer.name'", "''")
    lines = [f"{rng.choice(harness.study.KEYS[:7])} = {value_text(rng)}"] if rng.random() < 0.3 else []
    for table in ("base", "variants.a", "variants.'b c'", "grid"):
        if rng.random() < 0.5:
            lines.append(f"[{table}]")
            for key in rng.sample([*keys, *dotted], rng.randrange(3)):
                value = value_text(rng)
                lines.append(f"{key} = " + (f"[{value}, {value_text(rng)}]" if table == "grid" else value))
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(3))
def test_junk_gives_a_study_or_one_line(write, seed):
    rng = random.Random(seed)
    outcomes = {"study": 0, "no study": 0, "no TOML": 0}
    for i in range(500):
        text = study_text(rng) if i % 2 else "".join(rng.choices(FRAGMENTS, k=rng.randrange(1, 30)))
        path = write(text.encode())
        changes = ("optimizer.lr=0.5",) if i % 3 else ()
        try:
            parse_toml(text)
        except ValueError:
            outcomes["no TOML"] += 1
        try:
            study = load(path, Overrides(settings=changes))
        except UserError:
            outcomes["no study"] += 1
            assert len(complaint(load, path, Overrides(settings=changes))) < 2000
            continue
        outcomes["study"] += 1
        assert study.variants
        assert len(study.runs()) == study.seeds * len(study.variants)
        assert len({config.run_hash() for config in study.variants.values()}) == len(study.variants)
        assert study.baseline is None or study.baseline in study.variants
        assert set(study.factor_keys) <= {key for config in study.variants.values() for key in config.flat()}
        assert dataclasses.replace(study) == study
    assert min(outcomes.values()) > 20, outcomes
