"""Study files: the variants that they spell out, and one line for whatever is wrong with one."""

import os
from pathlib import Path

import pytest
from complaints import complaint
from studyfiles import writer

from harness.config import DATASET_NAMES, RunConfig
from harness.study import Overrides, load
from harness.studyfile import DEFAULT_TARGETS, available, headline


@pytest.fixture
def write(tmp_path):
    return writer(tmp_path)


def test_shipped_studies_are_found_by_name_in_order():
    assert list(available()) == sorted(available())
    assert {f"exp{i}" for i in range(1, 7)} <= set(available())
    assert all(path.is_file() for path in available().values())


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


@pytest.mark.parametrize(
    ("text", "target"),
    [("", 0.88), ("[base]\ndataset='cifar-10'", 0.45), ("target_accuracy = 0.5", 0.5), ("target_accuracy = 1", 1.0)],
)
def test_a_target_is_the_files_or_that_of_the_data_set(write, text, target):
    assert load(write(text)).target_accuracy == target


def test_every_data_set_has_a_target():
    assert tuple(DEFAULT_TARGETS) == DATASET_NAMES


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


# --- errors in the file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "titel = 'x'",
            "unknown key 'titel' in my.toml (did you mean 'title'?); allowed: base, baseline, claims, ",
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
        ("target_accuracy = 0", "my.toml: target_accuracy = 0: must be a number in (0, 1]"),
        ("target_accuracy = 1.1", "my.toml: target_accuracy = 1.1: must be a number in (0, 1]"),
        ("target_accuracy = 88", "my.toml: target_accuracy = 88: must be a number"),
        ("target_accuracy = nan", "my.toml: target_accuracy = nan: must be a number"),
        ("target_accuracy = true", "my.toml: target_accuracy = True: must be a number"),
        ("target_accuracy = '0.9'", "my.toml: target_accuracy = '0.9': must be a number"),
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
        ("missing.toml", "there is no such file; shipped studies: best, exp1, exp2, exp3"),
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


def test_listing_looks_at_nothing_but_the_headline(write):
    path = write("title = 'T'\nquestion = 'Q'\nextensions = ['missing.py']\nseeds = -1\n[base]\nl2 = -1")
    assert headline(Path(path)) == ("T", "Q")


# --- what a data set changes -------------------------------------------------------------------------------------

PER_DATASET = """
finding = "F"
seeds = 4
target_accuracy = 0.7
[base]
l2 = 1
hidden = [8]
optimizer = { name = "momentum", lr = 0.5, mu = 0.8 }
[variants]
a = {}
b = { l2 = 2, dropout = 0.1 }
[grid]
batch_size = [16, 32]
[datasets.cifar-10]
finding = "C"
seeds = 3
target_accuracy = 0.3
[datasets.cifar-10.base]
l2 = 3
hidden = [16]
optimizer.lr = 0.25
batch_size = 64
[datasets.cifar-10.variants.b]
dropout = 0.2
"""
CIFAR = Overrides(dataset="cifar-10")


def test_a_data_set_lies_over_the_base_and_over_its_variants_but_not_over_the_grid(write):
    a16, a32, b16, b32 = load(write(PER_DATASET), CIFAR).variants.values()
    assert [config.l2 for config in (a16, b16)] == [3, 2]
    assert [config.dropout for config in (a32, b32)] == [0, 0.2]
    assert [config.batch_size for config in (a16, a32, b16, b32)] == [16, 32, 16, 32]
    assert {config.hidden for config in (a16, b16)} == {(16,)}
    assert a16.optimizer.model_dump() == {"name": "momentum", "lr": 0.25, "mu": 0.8}


def test_a_data_set_has_seeds_target_and_finding_of_its_own(write):
    path = write(PER_DATASET)
    one, other = load(path), load(path, CIFAR)
    assert (one.seeds, one.target_accuracy, one.finding) == (4, 0.7, "F")
    assert (other.seeds, other.target_accuracy, other.finding) == (3, 0.3, "C")
    assert (one.dataset, other.dataset) == ("fashion-mnist", "cifar-10")


def test_what_the_data_set_says_is_no_change_and_a_request_wins_over_it(write):
    path = write(PER_DATASET)
    assert load(path, CIFAR).changes == ()
    assert load(path, Overrides(dataset="cifar-10", seeds=3, settings=("hidden=16",))).changes == ()
    changed = load(path, Overrides(dataset="cifar-10", seeds=4, settings=("l2=7", "optimizer.lr=1")))
    assert changed.changes == ("l2=7.0", "optimizer.lr=1.0", "seeds=4")
    assert {(config.l2, config.optimizer.lr) for config in changed.variants.values()} == {(7.0, 1.0)}


@pytest.mark.parametrize(
    "overrides",
    [Overrides(settings=("dataset=cifar-10",)), Overrides(dataset="fashion-mnist", settings=("dataset=cifar-10",))],
)
def test_the_data_set_is_the_one_that_is_used_however_it_was_asked_for(write, overrides):
    assert load(write(PER_DATASET), overrides).variants == load(write(PER_DATASET), CIFAR).variants


def test_the_data_set_may_be_that_of_the_file(write):
    assert load(write(PER_DATASET.replace("[base]", "[base]\ndataset = 'cifar-10'"))).seeds == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets = 3", "my.toml: datasets = 3: must be a table"),
        ("datasets.cifar-10 = 3", "my.toml: datasets.cifar-10 = 3: must be a table"),
        ("[datasets.cifar]", "unknown data set 'cifar' in my.toml, datasets (did you mean 'cifar-10'?); allowed: "),
        ("[datasets.cifar-10]\nseed = 3", "unknown key 'seed' in my.toml, datasets.cifar-10 (did you mean 'seeds'?); "),
        ("[datasets.cifar-10]\nseeds = 0", "my.toml: datasets.cifar-10.seeds = 0: must be a whole number"),
        ("[datasets.cifar-10]\ntarget_accuracy = 2", "my.toml: datasets.cifar-10.target_accuracy = 2: must be a num"),
        ("[datasets.cifar-10]\nfinding = 2", "my.toml: datasets.cifar-10.finding = 2: must be a text"),
        ("[datasets.cifar-10]\nbase = 2", "my.toml: datasets.cifar-10.base = 2: must be a table"),
        ("[datasets.cifar-10.base]\nl2 = -1", "my.toml, datasets.cifar-10.base: l2 = -1: must lie in [0, inf)"),
        ("[datasets.cifar-10.base]\ndataset = 'x'", "my.toml, datasets.cifar-10.base: dataset = 'x': these settings "),
        ("[datasets.cifar-10.variants.x]", "unknown variant 'x' in my.toml, datasets.cifar-10.variants; allowed: none"),
        ("[datasets.cifar-10]\nclaims = 3", "my.toml: datasets.cifar-10.claims = 3: must be a list of tables"),
        ("[[datasets.cifar-10.claims]]", "my.toml, datasets.cifar-10.claims 1: text is missing"),
    ],
)
def test_a_wrong_table_of_a_data_set_is_one_line(write, text, message):
    path = write(text)
    assert complaint(load, path, CIFAR).startswith(message)


def test_a_table_of_another_data_set_is_known_by_name_at_least(write):
    assert load(write("[datasets.cifar-10]\nseeds = 0")).seeds == 5
    assert "unknown key" in complaint(load, write("[datasets.cifar-10]\nsedes = 0"))
