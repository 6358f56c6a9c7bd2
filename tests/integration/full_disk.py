#!/usr/bin/env python3
"""A disk that fills up while something is written: full_disk.py GNOMON

Files appear whole or not at all; what stood there stays. Two kinds of full disk: a limit on the size of a file
(RLIMIT_FSIZE, which every machine has), and a small tmpfs where this process may mount one (it says so where not).
"""

import contextlib
import pathlib
import shutil
import subprocess

from program import EXHAUSTED, describe, execute, fail, limit_file_size, run, run_demo, temporary_folder

START, END = "2024-01-01", "2025-01-03"
FULL = ("No space left on device", "File too large", "database or disk is full")


def fail_full(*arguments, says, before=None) -> None:
    error = fail(*arguments, code=EXHAUSTED, says=says, before=before)
    assert any(reason in error for reason in FULL), error


def leftovers(folder: pathlib.Path):
    return [path.name for path in folder.rglob("*") if path.name.endswith((".tmp", "-journal", "-wal"))]


def registry_of(repository: pathlib.Path):
    return [(repository / "data" / name).read_bytes() for name in ("registry.db", "registry.db.gnomon")]


def retrieve(repository, out):
    return ["-c", repository, "get-historical-features", "-d", repository / "data/labels.parquet", "--feature-service",
            "sales_service", "-o", out]


def check_size_limit(sales: pathlib.Path, folder: pathlib.Path) -> None:
    out = folder / "out.parquet"
    fail_full(*retrieve(sales, out), says=["cannot write ", "out.parquet"], before=limit_file_size(20_000))
    assert not out.exists() and not leftovers(folder), leftovers(folder)
    out.write_text("what stood here before")
    fail_full(*retrieve(sales, out), says="out.parquet", before=limit_file_size(20_000))
    assert out.read_text() == "what stood here before" and not leftovers(folder)

    fail_full("demo", "sales", "--dir", folder / "demo", "--stores", "12", "--depts", "8",
              says=["generate: ", "sales.parquet"], before=limit_file_size(20_000))
    assert not (folder / "demo/data/sales.parquet").exists() and not leftovers(folder / "demo")

    # The registry cannot be written: nothing of the materialization begins.
    before = registry_of(sales)
    fail_full("-c", sales, "materialize", START, END, says="registry.db", before=limit_file_size(1_000))
    assert registry_of(sales) == before and not leftovers(sales)


def check_materialize(applied: pathlib.Path, folder: pathlib.Path) -> None:
    """The rows do not fit: none is kept, no interval is published, and the job is remembered as failed."""
    repository = folder / "repository"
    shutil.copytree(applied, repository)
    watermark = '"watermark":null'
    fail_full("-c", repository, "materialize", START, END, says=["materialize sales_features: ", "online_store.db"],
              before=limit_file_size(60_000))
    status = run("-c", repository, "status", "--json")
    assert status.count(watermark) == 2 and status.count('"rows":0') == 2, status
    assert "online_store.db" in status, status
    run("-c", repository, "materialize", START, END)
    status = run("-c", repository, "status", "--json")
    assert watermark not in status and '"last_failed_job":null' in status, status
    shutil.rmtree(repository)


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, kilobytes: int):
    """A tmpfs of this size, or None where this process may not mount one."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "gnomon-test", disk],
                             capture_output=True)
    if mounted.returncode != 0:
        print("no tmpfs can be mounted here: only the limit on file sizes was tested:", mounted.stderr.decode().strip())
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def check_small_disk(applied: pathlib.Path, sales: pathlib.Path, folder: pathlib.Path) -> None:
    with small_disk(folder, 640) as disk:
        if disk is None:
            return
        repository = disk / "repository"
        shutil.copytree(applied, repository)
        before = registry_of(repository)
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1024))
        fail_full(*retrieve(sales, disk / "out.parquet"), says="out.parquet")
        assert not (disk / "out.parquet").exists()
        result = execute("-c", repository, "materialize", START, END)
        assert result.returncode == EXHAUSTED and str(repository) in result.stderr, describe(["materialize"], result)
        assert registry_of(repository) == before
        assert set(leftovers(disk)) <= {"online_store.db-wal"}
        ballast.unlink()
        run("-c", repository, "materialize", START, END)
        run(*retrieve(sales, disk / "out.parquet"))


with temporary_folder() as temporary:
    sales = temporary / "sales"
    run_demo(sales, 12, 8, 1)
    applied = temporary / "applied"
    shutil.copytree(sales, applied, ignore=shutil.ignore_patterns("*.db*", "runs", "models", "report.html"))
    run("-c", applied, "apply")
    check_size_limit(sales, temporary)
    check_materialize(applied, temporary)
    check_small_disk(applied, sales, temporary)
print("a full disk loses nothing")
