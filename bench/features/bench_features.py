"""Window aggregates at every label's own time, and materialization, beside DuckDB and a bare sqlite3 loop.

usage: bench_features.py GNOMON [--runs 5] [--scale 1] [--data build/bench/features] [--json FILE]

windows      8 window aggregates over 10M events of 10k customers at 1M label times; DuckDB computes them with window
             functions over events and labels together
materialize  10M rows of 10 doubles to the newest row of each of 1M customers, into SQLite; beside it DuckDB's newest rows
             to Parquet, without a store, and 1M rows of that size by sqlite3's executemany

Runs are interleaved, each in a fresh process; medians. The peers' wall time is counted after their imports. Results are
compared: exits 1 when they differ.
"""

import argparse
import json
import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent / "asof"))

import data  # noqa: E402
import measure  # noqa: E402


def peer(work: str, folder: pathlib.Path, out: pathlib.Path) -> measure.Cost:
    for stale in folder.glob(out.name + "*"):
        stale.unlink()
    cost = measure.run([sys.executable, str(HERE / "engine.py"), work, str(folder), str(out)])
    cost.wall = json.loads(cost.output.splitlines()[-1])["seconds"]
    return cost


def gnomon_windows(gnomon: str, folder: pathlib.Path) -> measure.Cost:
    return measure.run(
        [gnomon, "-c", str(folder), "get-historical-features", "--entities", str(folder / "labels.parquet"),
         "--features", "windows:*", "--out", str(folder / "gnomon.parquet")]
    )


def gnomon_materialize(gnomon: str, folder: pathlib.Path) -> measure.Cost:
    for stale in folder.glob("online.db*"):
        stale.unlink()
    measure.run([gnomon, "-c", str(folder), "apply"])
    return measure.run([gnomon, "-c", str(folder), "materialize", "2024-01-01", "2026-01-01"])


def differing(work: str, folder: pathlib.Path, *more: str) -> int:
    """In a process of its own: a child's peak memory begins with its parent's size."""
    cost = measure.run([sys.executable, str(HERE / "compare.py"), work, str(folder), *more])
    return json.loads(cost.output)["differing"]


def medians(samples: dict[str, list[measure.Cost]]) -> dict:
    return {
        name: {field: statistics.median(getattr(cost, field) for cost in costs) for field in ("wall", "cpu", "peak")}
        for name, costs in samples.items()
    }


def interleaved(name: str, runs: int, works: dict) -> dict:
    samples = {work: [] for work in works}
    for _ in range(runs):
        for work, run in works.items():
            cost = run()
            samples[work].append(cost)
            print(f"  {name} {work}: {cost.wall:.2f} s, cpu {cost.cpu:.2f} s, {cost.peak >> 20} MiB", flush=True)
    return medians(samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gnomon")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("build/bench/features"))
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    gnomon = str(pathlib.Path(arguments.gnomon).resolve())

    windows = data.prepare("windows", arguments.data.resolve(), arguments.scale)
    measure.run([gnomon, "-c", str(windows), "apply"])
    results = {
        "windows": interleaved(
            "windows",
            arguments.runs,
            {
                "gnomon": lambda: gnomon_windows(gnomon, windows),
                "duckdb": lambda: peer("windows", windows, windows / "windows.parquet"),
            },
        )
    }
    wrong = {"windows": differing("windows", windows)}

    latest = data.prepare("latest", arguments.data.resolve(), arguments.scale)
    results["materialize"] = interleaved(
        "materialize",
        arguments.runs,
        {
            "gnomon": lambda: gnomon_materialize(gnomon, latest),
            "duckdb, no store": lambda: peer("latest", latest, latest / "latest.parquet"),
            "sqlite3, no features": lambda: peer("sqlite", latest, latest / "bare.db"),
        },
    )
    wrong["materialize"] = differing("latest", latest, gnomon)

    print("| work | engine | wall s | CPU s | peak MiB |\n|---|---|---|---|---|")
    for work, costs in results.items():
        for engine, cost in costs.items():
            print(f"| {work} | {engine} | {cost['wall']:.2f} | {cost['cpu']:.2f} | {cost['peak'] / 2**20:.0f} |")
    rows = int(data.MILLION * arguments.scale)
    print(f"\nmaterialize: {rows / results['materialize']['gnomon']['wall']:,.0f} entity rows a second")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    if any(wrong.values()):
        raise SystemExit(f"results differ: {wrong}")


if __name__ == "__main__":
    main()
