"""How long the program takes to start: `gnomon --help` and `gnomon version`, each in 50 fresh processes.

usage: bench_startup.py GNOMON [--runs 50] [--bar]

Prints medians of wall time, user and system CPU. With --bar exits 1 when a median wall time is above 40 ms (an idle
machine is assumed).
"""

import argparse
import os
import statistics
import subprocess
import time

BAR_SECONDS = 0.040


def start(command: list[str]) -> tuple[float, float, float]:
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    return wall, usage.ru_utime, usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gnomon")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--bar", action="store_true")
    arguments = parser.parse_args()
    slow = []
    print("| command | wall ms | user ms | system ms | fastest wall ms |\n|---|---|---|---|---|")
    for argument in ["--help", "version"]:
        samples = [start([arguments.gnomon, argument]) for _ in range(arguments.runs)]
        wall, user, system = (statistics.median(column) for column in zip(*samples))
        fastest = min(sample[0] for sample in samples)
        print(f"| gnomon {argument} | {wall * 1e3:.1f} | {user * 1e3:.1f} | {system * 1e3:.1f} | {fastest * 1e3:.1f} |")
        if wall > BAR_SECONDS:
            slow.append(argument)
    if slow and arguments.bar:
        raise SystemExit(f"slower than {BAR_SECONDS * 1e3:.0f} ms: {', '.join(slow)}")


if __name__ == "__main__":
    main()
