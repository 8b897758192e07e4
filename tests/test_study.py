"""Studies: overrides, names of folders, schedules, and one line for whatever is wrong with a request."""

import dataclasses
import random

import pytest
from complaints import complaint
from studyfiles import writer

from harness.config import RunConfig
from harness.errors import UserError
from harness.settings import parse_toml
from harness.study import Overrides, load
from harness.studyfile import KEYS, available, headline

EXP3_RATES = {"sgd": 0.1, "sgd untuned": 0.01, "momentum": 0.02, "rmsprop": 0.0005, "adam": 0.001}


@pytest.fixture
def write(tmp_path):
    return writer(tmp_path)


# --- shipped studies ---------------------------------------------------------------------------------------------


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
    (wider,) = load("exp1", Overrides(dataset="cifar-10")).variants.values()
    assert wider.hidden == (512,)


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


def test_exp4_crosses_l2_with_dropout():
    study = load("exp4")
    assert study.factor_keys == ["l2", "dropout"]
    cells = {(config.l2, config.dropout) for config in study.variants.values()}
    assert cells == {(l2, dropout) for l2 in (0, 0.001, 0.01, 0.1) for dropout in (0, 0.2, 0.5)}
    assert study.variants[study.baseline] == RunConfig()
    assert "gap" in study.metrics


def test_exp5_crosses_depth_with_width():
    study = load("exp5")
    assert study.factor_keys == ["hidden.layers", "hidden.units"]
    cells = {config.hidden for config in study.variants.values()}
    assert cells == {(units,) * layers for layers in (1, 2, 3, 4) for units in (64, 128, 256, 512)}
    assert study.variants[study.baseline] == RunConfig(epochs=10)


def test_exp6_crosses_initial_weights_with_activation_and_depth():
    study = load("exp6")
    assert study.factor_keys == ["hidden.layers", "activation", "init"]
    cells = {(config.init, config.activation, len(config.hidden)) for config in study.variants.values()}
    assert cells == {(i, a, n) for i in ("random", "he", "xavier") for a in ("relu", "sigmoid") for n in (1, 4)}
    assert study.variants[study.baseline] == RunConfig()


@pytest.mark.parametrize("name", available())
def test_shipped_studies_have_seeds_enough(name):
    wanted = 10 if name in ("exp2", "exp3", "exp6") else 5
    assert load(name).seeds >= wanted
    assert load(name, Overrides(dataset="cifar-10")).seeds >= 3


def test_studies_on_cifar_start_from_a_smaller_baseline_than_exp1():
    cifar = Overrides(dataset="cifar-10")
    (config,) = load("exp1", cifar).variants.values()
    smaller = config.model_copy(update={"hidden": (128,), "epochs": 15})
    for name in ("exp2", "exp4", "exp6"):
        study = load(name, cifar)
        assert study.variants[study.baseline] == smaller


# --- runs and factors --------------------------------------------------------------------------------------------


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
        seeds=2,
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
    assert study.seeds == 2
    assert study.changes == (
        *("engine=numpy", "epochs=5", "hidden=64x32", "l2=0.001", "limit=1000", "optimizer.lr=2.0"),
        *("precision=float64", "seeds=2", "only=sgd,adam"),
    )
    assert study.baseline == "sgd"
    assert study.finding == load("exp3", Overrides(dataset="cifar-10")).finding != load("exp3").finding


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
    assert message.startswith("unknown study 'exp33' (did you mean 'exp3'?); allowed: best, exp1, exp2, exp3")
    assert message.endswith("; or the path of a .toml file")
    for name in ("", "EXP9", "x\ny", "\x00", ".", "..", "results"):
        assert complaint(load, name).startswith("unknown study ")


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
    lines = [f"{rng.choice(KEYS[:7])} = {value_text(rng)}"] if rng.random() < 0.3 else []
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
