"""The layout of the project: what lies where, who imports whom, and words that belong to no file of ours."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(path for package in ("kernels", "harness", "ablations") for path in ROOT.glob(f"{package}/**/*.py"))
MAX_CODE_LINES = 300

TOP_LEVEL = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"}
TOP_LEVEL |= {"kernels", "harness", "ablations", "results", "tests", "docs"}

KERNEL_LIBRARIES = {"numpy", "numba", "llvmlite", "platformdirs"}
REFERENCE_LIBRARIES = {"numpy", "scipy"}

# Written so that no pattern matches its own line.
FORBIDDEN = {
    "a path of somebody's machine": r"(?<![\w.])/(work|root|home|Users)/\w|(?<![\w.])/tmp/de[v]\b|[A-Z]:\\Users",
    "the host of a package registry": r"pyp[i]\.org|pythonhoste[d]|deb\.debia[n]|anacond[a]\.|conda-forg[e]",
    "a mark of unfinished work": r"\b(TOD[O]|FIXM[E]|XX[X])\b",
    "the number of an issue": r"(?i)\b(issue|ticket)[ -]?#?\d",
    "the name of a writing tool": r"(?i)\b(claud[e]|chatgp[t]|anthropi[c]|copilo[t]|assistan[t])",
}


def project_files() -> list[Path]:
    """Files under version control; without git, all that is no product of tools."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    tops = [ROOT / name for name in TOP_LEVEL]
    found = [path for top in tops for path in (top.rglob("*") if top.is_dir() else [top]) if path.is_file()]
    return [path for path in found if not {"__pycache__", "runs"} & set(path.parts)]


FILES = project_files()


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST, package: str, lazy: bool = False) -> Iterator[tuple[str, bool]]:
    """Full names of all that is imported, and whether inside a function or for type checking only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -node.level + 1 or None] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{module}.{alias.name}", lazy) for alias in node.names)
        checking = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from imports(node, package, lazy or checking or inside)


def imported_by(path: Path) -> list[tuple[str, bool]]:
    package = ".".join(path.relative_to(ROOT).parts[:-1])
    return list(imports(ast.parse(path.read_text(encoding="utf-8")), package))


def code_lines(source: str) -> int:
    """Lines that hold code: no comments, docstrings or blank lines."""
    idle = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in idle:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        holder = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if holder and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_imports_in_all_their_forms_are_seen(tmp_path):
    source = "import a.b\nfrom c import d\nfrom . import e\nfrom ..f import g\ndef h():\n    import i\n"
    source += "if TYPE_CHECKING:\n    import j\nif k:\n    import l\n"
    expected = [("a.b", False), ("c.d", False), ("kernels.sub.e", False), ("kernels.f.g", False)]
    expected += [("i", True), ("j", True), ("l", False)]
    assert list(imports(ast.parse(source), "kernels.sub")) == expected


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    allowed = {"kernels": {"kernels"}, "harness": {"kernels", "harness"}, "ablations": set()}[package]
    own = {name.partition(".")[0] for name, _ in imported_by(path)} & (TOP_LEVEL | {"conftest"})
    assert own <= allowed


@pytest.mark.parametrize("path", [path for path in MODULES if "kernels" in path.parts], ids=name_of)
def test_kernels_import_nothing_but_what_arithmetic_needs(path):
    for name, lazy in imported_by(path):
        library = name.partition(".")[0]
        allowed = library in KERNEL_LIBRARIES or library in sys.stdlib_module_names or library == "kernels"
        assert allowed or (library == "scipy" and lazy) or (library == "scipy" and "reference" in path.parts), name


@pytest.mark.parametrize("path", sorted(ROOT.glob("kernels/reference/*.py")), ids=name_of)
def test_the_reference_is_plain_numpy(path):
    for name, lazy in imported_by(path):
        library = name.partition(".")[0]
        ours = name.startswith(("kernels.reference", "kernels.model")) or (library == "kernels" and lazy)
        assert ours or library in REFERENCE_LIBRARIES or library in sys.stdlib_module_names, name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is_for_and_has_one_idea(path):
    source = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source))
    assert code_lines(source) <= MAX_CODE_LINES


def test_studies_hold_no_code():
    (module,) = ROOT.glob("ablations/**/*.py")
    assert code_lines(module.read_text(encoding="utf-8")) == 0
    assert {path.suffix for path in ROOT.glob("ablations/*") if path.is_file()} == {".py", ".toml"}


def test_results_hold_no_code():
    code = [path for path in FILES if path.is_relative_to(ROOT / "results") and path.suffix in (".py", ".sh", ".pyx")]
    assert code == []


def test_the_top_level_holds_what_the_layout_allows():
    names = {path.relative_to(ROOT).parts[0] for path in FILES}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


def test_numba_options_stand_in_one_place():
    for path in MODULES:
        if name_of(path) != "kernels/jit.py":
            options = r"njit\([^)]*\b(fastmath|nogil|parallel|error_model|boundscheck)\s*="
            assert not re.search(options, path.read_text()), name_of(path)


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_no_file_holds(kind):
    found = []
    for path in FILES:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:  # a picture or an archive
            continue
        found += [f"{name_of(path)}:{n}" for n, line in enumerate(lines, 1) if re.search(FORBIDDEN[kind], line)]
    assert found == []
