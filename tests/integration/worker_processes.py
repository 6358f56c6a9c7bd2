#!/usr/bin/env python3
"""Retrieval in worker processes gives the bytes of retrieval in one process: worker_processes.py GNOMON PLUGIN

The repository of examples/plugin: a window view with a plug-in's aggregates, a plain view with its functions, on-demand
features, a view over a view. Both isolations write the same file, also when a worker is killed in the middle of its
work, and without entity rows; the explanation lists the stages; a worker refuses a plug-in that is not the driver's.
"""

import datetime
import pathlib
import random
import shutil
import sys

import pyarrow
import pyarrow.parquet

from killed_worker import run_with_a_killed_worker
from program import CONFLICT, fail, run, temporary_folder

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "plugin"
PLUGIN = pathlib.Path(sys.argv[2])
START = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)


def write_clicks(path, rows: int, seed: int):
    rng = random.Random(seed)
    clicks = {
        "user": [rng.randrange(20) if rng.random() > 0.02 else None for _ in range(rows)],
        "ts": [START + datetime.timedelta(seconds=rng.randrange(10 * 86400)) for _ in range(rows)],
        "page": [rng.choice(["home", "cart", "help", None]) for _ in range(rows)],
        "mail": [rng.choice(["a@shop.org", "b@test.org", None]) for _ in range(rows)],
        "seconds": [rng.randrange(1000) for _ in range(rows)],
        "latitude": [rng.uniform(40, 60) for _ in range(rows)],
        "longitude": [rng.uniform(0, 20) for _ in range(rows)],
    }
    pyarrow.parquet.write_table(pyarrow.table(clicks), path, row_group_size=200)


def write_labels(path, rows: int):
    rng = random.Random(9)
    lines = ["user,event_timestamp,mean"]
    for _ in range(rows):
        when = START + datetime.timedelta(seconds=rng.randrange(12 * 86400))
        lines.append(f"{rng.randrange(22)},{when.strftime('%Y-%m-%dT%H:%M:%SZ')},{rng.randrange(900)}.5")
    path.write_text("\n".join(lines) + "\n")


def configure(folder, isolation: str):
    settings = (EXAMPLE / "feature_store.yaml").read_text()
    engine = f"batch_engine: {{type: local, isolation: {isolation}, max_workers: 2}}\n"
    (folder / "feature_store.yaml").write_text(settings + engine)


def retrieve(folder, out: str, *more) -> str:
    return run("-c", folder, "get-historical-features", "-d", folder / "labels.csv", "--feature-service", "all", "-o",
               folder / out, *more)


def check_ranges(folder):
    """Without entity rows: the rows of a plain view, and those of several views at all their times."""
    for features in ("place:km,place:mail", "place:km,visits:seconds_sum,visits:path_1d"):
        ask = ("-c", folder, "get-historical-features", "--start", "2024-01-03", "--end", "2024-01-06T12:00:00Z", "-f", features)
        for isolation in ("thread", "process"):
            configure(folder, isolation)
            run(*ask, "-o", folder / f"range_{isolation}.parquet")
        assert (folder / "range_thread.parquet").read_bytes() == (folder / "range_process.parquet").read_bytes(), features
        assert pyarrow.parquet.read_metadata(folder / "range_thread.parquet").num_rows > 500
        assert "stages in 2 worker processes" in run(*ask, "--explain")
        stats = run(*ask, "-o", folder / "range_process.parquet", "--stats")
        assert "scan" in stats and "none, all in this process" not in stats, stats


def main():
    with temporary_folder() as folder:
        (folder / "plugins").mkdir()
        library = folder / "plugins" / "libshop.so"
        shutil.copy(PLUGIN, library)
        shutil.copy(EXAMPLE / "features.yaml", folder)
        (folder / "clicks.parquet").unlink(missing_ok=True)
        write_clicks(folder / "clicks.parquet", 3000, 1)
        write_labels(folder / "labels.csv", 500)
        configure(folder, "thread")
        run("-c", folder, "apply")
        retrieve(folder, "threads.parquet")
        configure(folder, "process")
        retrieve(folder, "processes.parquet")
        assert (folder / "threads.parquet").read_bytes() == (folder / "processes.parquet").read_bytes()

        run_with_a_killed_worker(["-c", folder, "get-historical-features", "-d", folder / "labels.csv", "--feature-service",
                                  "all", "-o", folder / "killed.parquet"], "file.before_scan")
        assert (folder / "threads.parquet").read_bytes() == (folder / "killed.parquet").read_bytes()

        explained = run("-c", folder, "get-historical-features", "-d", folder / "labels.csv", "--feature-service",
                        "all", "--explain")
        for text in ("stages in 2 worker processes", "stage 0", "asof_join", "window_aggregate"):
            assert text in explained, explained

        check_ranges(folder)

        fail("worker", "--fd", 0, "--plugin", library, "--plugin-id", "0" * 64, code=CONFLICT,
             says="is not the one that the driver has loaded")


main()
