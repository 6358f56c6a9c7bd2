"""Memory of a retrieval of 10M entity rows under memory limits: what the process holds, and that no limit changes a byte.

usage: bench_memory.py GNOMON [--limits 128,256,512] [--cases plain,...] [--scale 1] [--data build/bench/features]

A plain view and a window view over 10M events of 200k customers, asked for at 10M times: each alone, both, saved as a dataset,
and both without entity rows, at the events' own 10M keys and times. RssAnon + RssShmem of the process
are read every 5 ms; their high-water minus that of `gnomon version` may pass the limit by 10 % (DESIGN.md section 8). Exits 1
when it does, or when a file differs from that without a limit.
"""

import argparse
import hashlib
import pathlib
import shutil
import subprocess
import time

import data
import numpy
import pyarrow

DAY = data.DAY
VIEWS = """  - name: plain
    entities: [customer]
    source: events
    ttl: 7d
    schema: [{name: f0, dtype: Float64}, {name: f1, dtype: Float64}, {name: f2, dtype: Float64}, {name: f3, dtype: Float64}]
  - name: windows
    entities: [customer]
    source: events
    aggregations:
      - {function: count, column: amount, time_window: 1d, name: count_1d}
      - {function: sum, column: amount, time_window: 7d, name: sum_7d}
      - {function: mean, column: amount, time_window: 30d, name: mean_30d}
"""


def prepare(root: pathlib.Path, scale: float) -> pathlib.Path:
    folder = root / f"memory_{scale:g}"
    if (folder / "complete").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows, customers = int(10 * data.MILLION * scale), int(200_000 * scale)
    random = numpy.random.default_rng(3)
    keys = lambda: random.integers(0, customers, rows)  # noqa: E731
    times = lambda: data.times(random.integers(0, 365 * DAY, rows))  # noqa: E731
    numbers = {name: random.standard_normal(rows) * 100 for name in ("amount", "f0", "f1", "f2", "f3")}
    data.write(pyarrow.table({"customer": keys(), "event_timestamp": times(), **numbers}), folder / "events.parquet")
    labels = {"label_id": numpy.arange(rows), "customer": keys(), "event_timestamp": times()}
    data.write(pyarrow.table(labels), folder / "labels.parquet")
    (folder / "feature_store.yaml").write_text(data.STORE)
    (folder / "features.yaml").write_text(data.features_yaml("unused").split("feature_views:")[0] + "feature_views:\n" + VIEWS)
    (folder / "complete").touch()
    return folder


def held(pid: int) -> int:
    """RssAnon + RssShmem in bytes; 0 once the process has ended."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return sum(int(line.split()[1]) << 10 for line in status if line.startswith(("RssAnon:", "RssShmem:")))
    except OSError:
        return 0


def run(command: list[str]) -> tuple[float, int]:
    """Seconds, and the most that the process held."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    most = 0
    while process.poll() is None:
        most = max(most, held(process.pid))
        time.sleep(0.005)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{process.stderr.read().decode()}")
    return time.perf_counter() - start, most


def digest(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cases(folder: pathlib.Path) -> dict[str, list[str]]:
    """What is asked for, by a name."""
    entities = ["--entities", str(folder / "labels.parquet")]
    return {
        "plain": [*entities, "-f", "plain:*"],
        "windows": [*entities, "-f", "windows:*"],
        "both": [*entities, "-f", "plain:*,windows:*"],
        "saved": [*entities, "-f", "plain:*", "--save-as", "saved", "--overwrite"],
        "range": ["--start", "2023-01-01", "--end", "2026-12-31", "-f", "plain:*,windows:*"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gnomon")
    parser.add_argument("--limits", default="128,256,512", help="MiB, separated by commas")
    parser.add_argument("--cases", default="plain,windows,both,saved,range", help="separated by commas")
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("build/bench/features"))
    arguments = parser.parse_args()
    gnomon = str(pathlib.Path(arguments.gnomon).resolve())
    folder = prepare(arguments.data.resolve(), arguments.scale)
    run([gnomon, "-c", str(folder), "apply"])
    _, idle = run([gnomon, "version"])
    wrong = []
    print("| case | limit MiB | held MiB | wall s |\n|---|---|---|---|")
    for case in arguments.cases.split(","):
        expected = None
        for limit in [0] + [int(text) for text in arguments.limits.split(",")]:
            out = folder / "out.parquet"
            seconds, most = run(
                [gnomon, "-c", str(folder), *(["--memory-limit", f"{limit}MiB"] if limit else [])]
                + ["get-historical-features", *cases(folder)[case], "--full-feature-names", "--out", str(out)]
            )
            most -= idle
            print(f"| {case} | {limit or 'none'} | {most >> 20} | {seconds:.1f} |", flush=True)
            found = digest(out)
            expected = expected or found
            if found != expected:
                wrong.append(f"{case} under {limit} MiB: another file")
            if limit and most > limit * 1.1 * (1 << 20):
                wrong.append(f"{case} under {limit} MiB: held {most >> 20}")
            out.unlink()
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
