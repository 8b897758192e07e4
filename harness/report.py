"""Command line: a page and a report of all results, and figures for papers (``python -m harness.report``)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from harness import command

if TYPE_CHECKING:
    import argparse

    from harness.committed import StudyFolder

PAGE = "report.html"
REPORT = "report.md"


def parser() -> command.Parser:
    """All options of the command."""
    p = command.Parser(
        prog="harness.report",
        usage="python -m harness.report [STUDY ...] [options]",
        description="Build an interactive page and a written report from the tables of all studies, or of those named.",
        allow_abbrev=False,
    )
    p.add_argument("studies", nargs="*", metavar="STUDY",
                   help="a study, STUDY/DATASET, or the path of a .toml file (default: all)")  # fmt: skip
    p.add_argument("--figures", action="store_true",
                   help="first draw figures for papers into the studies' folders (PNG and SVG)")  # fmt: skip
    p.add_argument("--out", type=command.folder, default=Path("results"), metavar="DIR", help="folder of results")
    p.add_argument("--data-dir", type=command.folder, metavar="DIR", help="folder that holds the data sets")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 done, also where something is missing; 2 the request was wrong."""
    return command.run(_report, sys.argv[1:] if arguments is None else arguments)


def _report(arguments: Sequence[str]) -> int:
    from harness import sources

    options = parser().parse(arguments)
    if options.data_dir is not None:
        sources.named_folder(options.data_dir)
    if options.figures:
        _figures(_read(options), options.data_dir)
    folders = _read(options)  # afresh: the report says what their files lack, not what a figure lacked
    _written(folders, options.out, everything=not options.studies)
    _page(folders, arguments, options.out, options.data_dir)
    for folder in folders:
        for problem in folder.problems:
            print(f"{folder.key}: {problem}")
    return command.DONE


def _read(options: argparse.Namespace) -> list[StudyFolder]:
    from harness import committed

    return [committed.read(path, file) for path, file in committed.find(options.out, options.studies)]


def _written(folders: Sequence[StudyFolder], results: Path, everything: bool) -> None:
    from harness import writtenreport
    from harness.files import write_atomic
    from harness.summaries import counted

    write_atomic(results / REPORT, writtenreport.text(folders, everything).encode("utf-8"))
    print(f"{results / REPORT}: {counted(len(folders), 'study', 'studies')}")


def _page(folders: Sequence[StudyFolder], arguments: Sequence[str], results: Path, data_dir: Path | None) -> None:
    import shlex

    from harness import pagebuild
    from harness.files import write_atomic
    from harness.outputs import impersonal
    from harness.summaries import counted

    records = [pagebuild.study_record(folder, results, data_dir) for folder in folders]
    made_by = impersonal(shlex.join(["python", "-m", "harness.report", *arguments]))
    data = pagebuild.page(records, made_by, metadata.version("ablation-bench")).encode("utf-8")
    write_atomic(results / PAGE, data)
    tables = [folder.tables["runs"] for folder in folders if "runs" in folder.tables]
    runs = {name for table in tables for name in table.texts("run_id")}  # studies share some
    print(f"{results / PAGE}: {counted(len(records), 'study', 'studies')}, {counted(len(runs), 'run')}, "
          f"{len(data) / 1e6:.1f} MB")  # fmt: skip


def _figures(folders: Sequence[StudyFolder], data_dir: Path | None) -> None:
    from harness import paperfigures
    from harness.summaries import counted

    for folder in folders:
        paths = paperfigures.write(folder, data_dir)
        print(f"{folder.path / 'figures'}: {counted(len(paths), 'file')}")


if __name__ == "__main__":
    command.main(_report)
