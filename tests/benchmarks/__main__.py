"""Run all benchmarks on one core and write the report: ``python tests/benchmarks``.

Pins this process to one core and all libraries to one thread, through the environment, before any of them is loaded;
then lets pytest take the times in a process of its own, and writes ``benchmarks.md`` and ``benchmarks.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Variables that tune a library are taken away: each chooses for itself, as in a fresh environment.
TUNING = ("OMP_", "KMP_", "OPENBLAS_", "MKL_", "BLIS_", "DNNL_", "ONEDNN_", "NPY_", "NUMBA_", "ATEN_", "TORCH", "JAX_",
          "XLA_")  # fmt: skip
THREADS = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR", "NUMBA")


def pinned(core: int | None) -> dict[str, str]:
    """Pin this process; return the environment that its child needs."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0)) if core is None else core})
    else:
        print("this system pins no process to a core: times will scatter more", file=sys.stderr)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(TUNING)},
        **{f"{library}_NUM_THREADS": "1" for library in THREADS},
        "VECLIB_MAXIMUM_THREADS": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    }


def take_times(options: argparse.Namespace, times: Path) -> int:
    """Let pytest time everything in a pinned process of its own; return its exit status."""
    times.parent.mkdir(exist_ok=True)
    times.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", str(HERE), "-m", "speed", "-p", "no:randomly", "-q", "-W", "default"]
    command += ["--benchmark-json", str(times), "--benchmark-quiet", "--benchmark-disable-gc"]
    command += ["-k", options.only] if options.only else []
    with tempfile.TemporaryDirectory() as scratch:
        environment = {
            **pinned(options.core),
            "TORCHINDUCTOR_CACHE_DIR": scratch,  # so that compiling is seen
            "ABLATION_BENCH_TURNS": str(1 if options.quick else options.turns),
            "ABLATION_BENCH_QUICK": "1" if options.quick else "",
        }
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="see whether everything works: few steps, one turn")
    parser.add_argument("--turns", type=int, default=5, help="times that every implementation has its turn (5)")
    parser.add_argument("--core", type=int, help="the core to use; default: the last one of this process")
    parser.add_argument("--only", metavar="WORDS", help="cases whose names hold these words (pytest's -k)")
    parser.add_argument(
        "--out", type=Path, help="folder of the report; default: results, .benchmarks with --quick or --only"
    )
    parser.add_argument("--from", dest="times", type=Path, help="write the report again from these times (JSON)")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if options.core is not None and options.core not in cores:
        parser.error(f"--core {options.core}: this process may use {', '.join(map(str, cores)) or 'no core by number'}")
    if options.turns < 1:
        parser.error(f"--turns {options.turns}: must be at least 1")

    out = options.out or (ROOT / (".benchmarks" if options.quick or options.only else "results"))
    times = options.times or ROOT / ".benchmarks" / "times.json"
    status = take_times(options, times) if options.times is None else 0
    if not times.exists():
        print("nothing was timed, so there is no report", file=sys.stderr)
        return status or 1
    sys.path.insert(0, str(HERE.parent))
    from benchmarks import chart, report

    results = report.read(json.loads(times.read_text(encoding="utf-8")))
    out.mkdir(parents=True, exist_ok=True)
    (out / "benchmarks.md").write_text(report.document(results), encoding="utf-8")
    chart.draw(results).savefig(out / "benchmarks.png", dpi=150)
    print(f"written: {out / 'benchmarks.md'}, {out / 'benchmarks.png'}")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
