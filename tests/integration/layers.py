#!/usr/bin/env python3
"""A dependency against the order of cmake/layers.cmake ends the configure step: layers.py PROJECT"""

import pathlib
import subprocess
import sys
import tempfile

PROJECT = sys.argv[1]
LISTS = """cmake_minimum_required(VERSION 3.25)
project(check NONE)
include({project}/cmake/GnomonModule.cmake)
gnomon_check_dependencies({module} {dependencies})
"""


def configure(module: str, dependencies: str) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as folder:
        text = LISTS.format(project=PROJECT, module=module, dependencies=dependencies)
        pathlib.Path(folder, "CMakeLists.txt").write_text(text)
        return subprocess.run(["cmake", "-S", folder, "-B", folder + "/build"], capture_output=True, text=True)


assert configure("feature_engine", "base table pit").returncode == 0
upwards = configure("pit", "base feature_engine")
assert upwards.returncode != 0 and "'pit' may not depend on 'feature_engine'" in " ".join(upwards.stderr.split()), upwards.stderr
unknown = configure("pit", "nothing")
assert unknown.returncode != 0 and "not in GNOMON_LAYERS" in " ".join(unknown.stderr.split()), unknown.stderr
print("the layers are checked")
