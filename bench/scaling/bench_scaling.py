"""How much faster two threads or two worker processes are than one, beside what the machine itself gives.

usage: bench_scaling.py GNOMON [--runs 5] [--cases join,windows,workers] [--data build/bench] [--bars]

Each case runs with one processor (T1), with two (T2), and as two independent copies with one processor each at the same time
(Ta, Tb). The machine scales by T1/Ta + T1/Tb: memory, caches and the file cache are shared. A case scales by T1/T2; the bar
(DESIGN.md section 8) is 0.9 of the machine's. `duckdb` is the same join with DuckDB's threads. Runs take turns, medians of
wall times after a process of its own each, start included; with --bars a missed bar exits 1.
"""

import argparse
import dataclasses
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

HERE = pathlib.Path(__file__).parent
sys.path += [str(HERE.parent / "asof"), str(HERE)]

import bench_asof  # noqa: E402
import data as asof_data  # noqa: E402

BAR = 0.9
WORKERS = "batch_engine: {{type: local, isolation: process, max_workers: {}}}\n"


@dataclasses.dataclass
class Case:
    name: str
    command: Callable[[int, pathlib.Path], list[str]]  # by processors and the file to write


def timed(case: Case, folder: pathlib.Path, copies: list[str], processors: int) -> list[float]:
    """Seconds of each of these copies, which run at the same time, each on the processors of its list."""
    running = []
    for copy, cpus in enumerate(copies):
        out = folder / f"scaling_{copy}.parquet"
        out.unlink(missing_ok=True)
        command = ["taskset", "-c", cpus, *case.command(processors, out)]
        log = open(folder / f"scaling_{copy}.log", "w+")
        running.append((time.perf_counter(), subprocess.Popen(command, stdout=log, stderr=log), log, out))
    seconds: list[float] = [0.0] * len(running)
    left = set(range(len(running)))
    while left:
        for copy in list(left):
            start, process, log, out = running[copy]
            if process.poll() is None:
                continue
            seconds[copy] = time.perf_counter() - start
            left.remove(copy)
            if process.returncode != 0 or not out.exists():
                log.seek(0)
                raise SystemExit(f"{' '.join(process.args)} failed with {process.returncode}:\n{log.read()}")
        time.sleep(0.002)
    for _, _, log, out in running:
        out.unlink()
        log.close()
        pathlib.Path(log.name).unlink()
    return seconds


def join_cases(gnomon: str, root: pathlib.Path, engines: list[str]) -> list[Case]:
    cases = []
    for shape in asof_data.MAIN:
        folder = asof_data.prepare(shape, root / "asof")
        for engine in engines:
            cases.append(
                Case(
                    f"{shape.name} {engine}",
                    lambda _, out, engine=engine, shape=shape, folder=folder: bench_asof.command(
                        engine, gnomon, shape, folder, out
                    ),
                )
            )
    return cases


def windows_folder(root: pathlib.Path) -> pathlib.Path:
    """The windows of bench_features.py. A process of its own makes them: its module is called data, too."""
    make = "import pathlib, sys, data; print(data.prepare('windows', pathlib.Path(sys.argv[1]).resolve(), 1))"
    made = subprocess.run([sys.executable, "-B", "-c", make, str(root / "features")], cwd=HERE.parent / "features",
                          check=True, capture_output=True, text=True)
    return pathlib.Path(made.stdout.strip())


def retrieval_case(gnomon: str, root: pathlib.Path, name: str, engine: str) -> Case:
    """Retrieval of the windows, by repositories that differ in `engine` ({} stands for the processors)."""
    windows = windows_folder(root)
    repositories = {}
    for processors in (1, 2):
        folder = repositories[processors] = root / "scaling" / f"{name.split(' ')[-1]}_{processors}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "events.parquet").symlink_to(windows / "events.parquet")
        (folder / "features.yaml").write_text((windows / "features.yaml").read_text())
        (folder / "feature_store.yaml").write_text((windows / "feature_store.yaml").read_text() + engine.format(processors))
        subprocess.run([gnomon, "-c", str(folder), "apply"], check=True, capture_output=True)

    def command(processors: int, out: pathlib.Path) -> list[str]:
        return [gnomon, "-c", str(repositories[processors]), "get-historical-features", "--entities",
                str(windows / "labels.parquet"), "--features", "windows:*", "--out", str(out)]

    return Case(name, command)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gnomon")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cases", default="join,windows,workers")
    parser.add_argument("--engines", default="gnomon,duckdb", help="of the joins")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("build/bench"))
    parser.add_argument("--bars", action="store_true", help="fail when a bar is missed")
    arguments = parser.parse_args()
    gnomon, root = str(pathlib.Path(arguments.gnomon).resolve()), arguments.data.resolve()
    groups = {
        "join": lambda: join_cases(gnomon, root, arguments.engines.split(",")),
        "windows": lambda: [retrieval_case(gnomon, root, "windows, threads", "")],
        "workers": lambda: [retrieval_case(gnomon, root, "windows, workers", WORKERS)],
    }
    cases = [case for name in arguments.cases.split(",") for case in groups[name]()]
    folder = root / "scaling"
    folder.mkdir(parents=True, exist_ok=True)
    lines, missed = [], []
    for case in cases:
        samples = []
        for _ in range(arguments.runs):
            (one,) = timed(case, folder, ["0"], 1)
            (two,) = timed(case, folder, ["0,1"], 2)
            first, second = timed(case, folder, ["0", "1"], 1)
            samples.append((one, two, one / two, one / first + one / second))
            print(f"  {case.name}: {one:.2f} s, {two:.2f} s, copies {first:.2f} and {second:.2f} s", flush=True)
        one, two, ours, machine = (statistics.median(column) for column in zip(*samples))
        lines.append(f"| {case.name} | {one:.2f} | {two:.2f} | {ours:.2f} | {machine:.2f} | {ours / machine:.2f} |")
        if ours / machine < BAR and "duckdb" not in case.name:
            missed.append(f"missed bar: {case.name}: {ours / machine:.2f} < {BAR}")
    print("| case | one s | two s | faster | the machine | of it |\n|---|---|---|---|---|---|")
    print("\n".join(lines + missed))
    if missed and arguments.bars:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
