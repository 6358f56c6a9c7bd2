"""Retrieval in worker processes of which one is killed in the middle of its work."""

import os
import pathlib
import signal
import subprocess
import time

from program import PROGRAM, seconds


def stopped_workers(driver: int) -> list:
    """Children of the driver that stand still (SIGSTOP)."""
    stopped = []
    for task in pathlib.Path(f"/proc/{driver}/task").glob("*/children"):
        try:
            for child in map(int, task.read_text().split()):
                state = pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
                if state == "T":
                    stopped.append(child)
        except OSError:
            continue  # it has just ended
    return stopped


def run_with_a_killed_worker(arguments: list, fault: str, look=None, code: int = 0) -> str:
    """Every process stops at its first pass of the fault point. The first worker that does is killed there, after
    look(its process id); the others go on. The program ends with `code`; gives what it says."""
    driver = subprocess.Popen([str(word) for word in (PROGRAM, *arguments)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env={**os.environ, "GNOMON_FAULT": f"{fault}:1:pause"})
    killed = None
    deadline = time.monotonic() + seconds(60)
    try:
        while driver.poll() is None:
            assert time.monotonic() < deadline, "the retrieval does not end"
            for worker in stopped_workers(driver.pid):
                if killed is None:
                    killed = worker
                    if look is not None:
                        look(worker)
                    os.kill(worker, signal.SIGKILL)
                elif worker != killed:
                    os.kill(worker, signal.SIGCONT)
            os.kill(driver.pid, signal.SIGCONT)
            time.sleep(0.01)
        said = driver.stdout.read()
        assert driver.returncode == code, said
        assert killed is not None, f"no worker reached {fault}"
        return said
    finally:
        driver.kill()
        driver.wait()
