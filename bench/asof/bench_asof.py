"""The point-in-time join against DuckDB, Polars and merely reading and writing the same bytes.

usage: bench_asof.py GNOMON [--shapes main|all|NAME,...] [--runs 5] [--data build/bench/asof] [--json FILE]

Runs are interleaved and each is a fresh process; the table shows medians. The peers' wall time is counted after their
imports, ours is that of the whole process. Every result is compared with DuckDB's as a multiset of rows. Exits 1 when a
result differs, or, with --bars, when a bar of DESIGN section 8 is missed.
"""

import argparse
import json
import pathlib
import statistics
import sys

import data
import measure

HERE = pathlib.Path(__file__).parent
ENGINES = ["gnomon", "duckdb", "polars", "read_write"]
# Ratios to the faster of DuckDB and Polars: CPU, wall, peak memory; CPU to read_write.
BARS = {"cpu": 0.40, "wall": 0.45, "peak": 0.5, "read_write_cpu": 0.9}
OTHER_BARS = {"cpu": 0.6, "wall": 0.6}
PRUNED_BARS = {"cpu": 0.2, "wall": 0.2}


def command(engine: str, gnomon: str, shape: data.Shape, folder: pathlib.Path, out: pathlib.Path) -> list[str]:
    if engine != "gnomon":
        return [sys.executable, str(HERE / "engine.py"), engine, str(folder), shape.name, str(out)]
    arguments = [gnomon, "asof", "--left", str(folder / "labels.parquet")]
    for table in range(shape.tables):
        arguments += ["--right", str(folder / f"F_{table}.parquet")]
    arguments += ["--by", ",".join(shape.by), "--on", "event_timestamp", "--out", str(out)]
    arguments += ["--tolerance", f"{data.TOLERANCE_DAYS}d"]
    if shape.memory_limit:
        arguments += ["--memory-limit", shape.memory_limit]
    return arguments


def differing_rows(left: pathlib.Path, right: pathlib.Path) -> int:
    """In a process of its own: a child's peak memory begins with its parent's size."""
    cost = measure.run([sys.executable, str(HERE / "compare.py"), str(left), str(right)])
    return json.loads(cost.output)["differing_rows"]


def measure_shape(shape: data.Shape, gnomon: str, root: pathlib.Path, runs: int, engines: list[str]) -> dict:
    folder = data.prepare(shape, root)
    if shape.memory_limit:  # the others know no limit and would need many times as much
        engines = [engine for engine in engines if engine in ("gnomon", "duckdb")]
    samples = {engine: [] for engine in engines}
    outputs = {engine: folder / f"out_{engine}.parquet" for engine in engines}
    for round_ in range(runs):
        for engine in engines[round_ % len(engines) :] + engines[: round_ % len(engines)]:
            outputs[engine].unlink(missing_ok=True)
            cost = measure.run(command(engine, gnomon, shape, folder, outputs[engine]))
            if engine != "gnomon":
                cost.wall = json.loads(cost.output.splitlines()[-1])["seconds"]
            samples[engine].append(cost)
            print(f"  {shape.name} {engine}: {cost.wall:.2f} s, cpu {cost.cpu:.2f} s, {cost.peak >> 20} MiB", flush=True)
    result = {}
    for engine, costs in samples.items():
        result[engine] = {
            "wall": statistics.median(cost.wall for cost in costs),
            "cpu": statistics.median(cost.cpu for cost in costs),
            "peak": statistics.median(cost.peak for cost in costs),
            "bytes": outputs[engine].stat().st_size,
        }
    if "duckdb" in engines:
        for engine in engines:
            if engine not in ("duckdb", "read_write"):
                result[engine]["differing_rows"] = differing_rows(outputs[engine], outputs["duckdb"])
    for path in outputs.values():
        path.unlink()
    return result


def ratios(result: dict) -> dict:
    peers = [result[name] for name in ("duckdb", "polars") if name in result]
    ours = result["gnomon"]
    fastest_wall = min(peer["wall"] for peer in peers)
    fastest = min(peers, key=lambda peer: peer["wall"])
    return {
        "cpu": ours["cpu"] / min(peer["cpu"] for peer in peers),
        "wall": ours["wall"] / fastest_wall,
        "peak": ours["peak"] / fastest["peak"],
        "bytes": ours["bytes"] / min(peer["bytes"] for peer in peers),
        "read_write_cpu": ours["cpu"] / result["read_write"]["cpu"] if "read_write" in result else 0.0,
    }


def bars_of(shape: data.Shape) -> dict:
    if shape in data.MAIN:
        return BARS
    return PRUNED_BARS if shape.last < 1 else OTHER_BARS


def table(results: dict) -> str:
    lines = ["| shape | engine | wall s | CPU s | peak MiB | output MB |", "|---|---|---|---|---|---|"]
    for name, result in results.items():
        for engine, cost in result.items():
            lines.append(
                f"| {name} | {engine} | {cost['wall']:.2f} | {cost['cpu']:.2f} | {cost['peak'] / 2**20:.0f}"
                f" | {cost['bytes'] / 1e6:.1f} |"
            )
    lines += ["", "| shape | CPU | wall | peak | bytes | CPU to read+write |", "|---|---|---|---|---|---|"]
    for name, result in results.items():
        r = ratios(result)
        lines.append(
            f"| {name} | {r['cpu']:.2f} | {r['wall']:.2f} | {r['peak']:.2f} | {r['bytes']:.2f}"
            f" | {r['read_write_cpu']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gnomon")
    parser.add_argument("--shapes", default="main")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("build/bench/asof"))
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--bars", action="store_true", help="fail when a bar is missed")
    arguments = parser.parse_args()
    groups = {"main": data.MAIN, "all": data.MAIN + data.MORE}
    shapes = groups.get(arguments.shapes) or [data.SHAPES[name] for name in arguments.shapes.split(",")]
    results, wrong, missed = {}, [], []
    for shape in shapes:
        result = measure_shape(shape, arguments.gnomon, arguments.data, arguments.runs, arguments.engines.split(","))
        results[shape.name] = result
        wrong += [shape.name for cost in result.values() if cost.get("differing_rows", 0) != 0]
        measured = ratios(result) if len(result) > 1 else {}
        missed += [
            f"{shape.name}: {bar} {measured[bar]:.2f} > {limit}"
            for bar, limit in bars_of(shape).items()
            if measured.get(bar, 0) > limit
        ]
    if all(len(result) > 1 for result in results.values()):
        print(table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    for line in missed:
        print("missed bar:", line)
    if wrong:
        raise SystemExit(f"results differ from DuckDB's: {', '.join(wrong)}")
    if missed and arguments.bars:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
