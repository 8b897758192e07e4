"""What command lines share: one line for what is wrong, statuses, and output that may lose its reader."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PATIENCE_SECONDS, ROOT

from harness import command
from harness.errors import UserError


@pytest.fixture
def parser():
    p = command.Parser(prog="harness.x", allow_abbrev=False)
    p.add_argument("thing", nargs="?")
    p.add_argument("--number", type=command.number)
    p.add_argument("--folder", type=command.folder)
    p.add_argument("--names", nargs="+")
    return p


def complaint(parser, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        parser.parse(arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_good_arguments_are_parsed(parser):
    options = parser.parse(["a", "--number", "-3", "--folder", "x y", "--names", "b", "c"])
    assert (options.thing, options.number, options.folder) == ("a", -3, Path("x y"))
    assert options.names == ["b", "c"]


@pytest.mark.parametrize("typed", ["--numbr", "--numbr=3", "--num"])
def test_an_unknown_option_names_the_nearest_and_all(parser, typed):
    option = typed.partition("=")[0]
    expected = f"unknown option {option!r} (did you mean '--number'?); allowed: --folder, --help, --names, --number"
    assert complaint(parser, typed, "3") == expected


def test_an_argument_too_many_is_named(parser):
    assert complaint(parser, "a", "b").startswith("'b' is one argument too many")


@pytest.mark.parametrize("arguments", [["--number"], ["--names"], ["--folder", ""], ["--folder", " "]], ids=str)
def test_a_missing_or_empty_value_is_told_with_its_option(parser, arguments):
    assert arguments[0] in complaint(parser, *arguments)


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("-7", -7), ("007", 7), ("0", 0)])
def test_whole_numbers_are_read(text, value):
    assert command.number(text) == value


@pytest.mark.parametrize("text", ["1.5", "two", "", "1e3", "0x10", "5_0", "--7", "9" * 5000])
def test_what_is_no_whole_number_is_left_for_the_one_who_knows_the_range(text):
    assert command.number(text) == text


def fail(_):
    raise UserError("this\nis \x1b[31mwrong\u2028 " + "\udcff")


def test_an_error_of_the_user_is_one_printable_line_and_status_2(capsys):
    assert command.run(fail, []) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: this\\nis \\x1b[31mwrong\\u2028 \\udcff\n"


def test_a_commands_own_status_is_handed_on():
    assert [command.run(lambda arguments: len(arguments), ["x"] * n) for n in (0, 1, 3)] == [0, 1, 3]


def test_an_error_of_ours_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        command.run(lambda _: 1 // 0, [])


def interrupt(_):
    raise KeyboardInterrupt


def test_ctrl_c_is_one_line_and_status_130(capsys):
    assert command.run(interrupt, []) == 130
    assert capsys.readouterr().err == "stopped before any run began\n"


# ---------------------------------------------------------------------------------------------- as a process's purpose


def program(body: str) -> list[str]:
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    code = f"import os, signal, sys, time\nfrom harness import command\ndef act(arguments):\n{lines}\ncommand.main(act)"
    return [sys.executable, "-c", code]


def python(body: str, **options) -> subprocess.CompletedProcess:
    settings = {"capture_output": True, "text": True, "timeout": PATIENCE_SECONDS, **options}
    return subprocess.run(program(body), cwd=ROOT, check=False, **settings)


LONG = "for i in range(30_000): print('line', i, flush=not i % 100)\nreturn 0"


def test_a_reader_that_leaves_early_ends_nothing_and_prints_nothing():
    process = subprocess.Popen(program(LONG), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"line 0\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(PATIENCE_SECONDS) == 0
    process.stderr.close()


def test_output_that_is_still_in_the_buffer_at_the_end_may_lose_its_reader():
    read, write = os.pipe()
    os.close(read)
    done = python("print('text')\nreturn 3", capture_output=False, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (3, "")


def test_a_full_disk_under_the_output_ends_nothing():
    with open("/dev/full", "w") as full:
        done = python(LONG, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("stream", "body", "status"),
    [
        (1, "print('text')\nreturn 0", 0),
        (2, "from harness.errors import UserError\nraise UserError('wrong')", 2),
    ],
)
def test_closed_streams_are_no_trouble(stream, body, status):
    words = ["sh", "-c", f'exec "$@" {stream}>&-', "sh", *program(body)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_what_a_terminal_cannot_show_is_written_as_codes():
    done = python("print('a\\u2013\\u2501 \\udcff')\nreturn 0", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout) == (0, "a\\u2013\\u2501 \\udcff\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_request_to_end_is_status_130_and_no_traceback(name):
    done = python(f"signal.raise_signal(signal.{name})\nreturn 0")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped before any run began\n")


def test_ctrl_c_inside_code_that_python_executes_from_text_is_status_130_too():
    """Making a dataclass or a named tuple does this; Python would end by signal afterwards."""
    done = python("exec('signal.raise_signal(signal.SIGINT)')\nreturn 0")
    assert (done.returncode, done.stderr) == (130, "stopped before any run began\n")


def test_ctrl_c_at_the_very_end_is_too_late():
    body = "import atexit\natexit.register(lambda: signal.raise_signal(signal.SIGINT))\nreturn 0"
    done = python(body)
    assert (done.returncode, done.stderr) == (0, "")


def test_clean_up_at_exit_happens_after_ctrl_c_too():
    body = "import atexit\natexit.register(print, 'cleaned up')\nsignal.raise_signal(signal.SIGINT)"
    done = python(body)
    assert (done.returncode, done.stdout) == (130, "cleaned up\n")


def test_help_is_status_0():
    done = python("command.Parser(prog='x').parse(['--help'])")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: x")


def test_handlers_of_this_process_are_as_before():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
