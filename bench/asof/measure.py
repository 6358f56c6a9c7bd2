"""Runs a command and measures what it cost: wall time, CPU time and peak resident memory of the process and its
children."""

import dataclasses
import os
import subprocess
import tempfile
import time


@dataclasses.dataclass
class Cost:
    wall: float  # seconds, of the whole process
    cpu: float  # seconds, user and system
    peak: int  # bytes
    output: str


def run(command: list[str], environment: dict[str, str] | None = None) -> Cost:
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}:\n{text}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, text)
