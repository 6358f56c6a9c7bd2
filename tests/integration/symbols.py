#!/usr/bin/env python3
"""No library of the program takes another's calls by accident: symbols.py GNOMON

Several wheels carry private copies of libraries that the program uses too. The dynamic linker gives a name to the first
library that exports it, so two exporters of one name are either on the list below, with the reason why that is harmless,
or a bug. What the linker really chose is read from one run with LD_DEBUG=bindings.
"""

import itertools
import os
import pathlib
import re
import subprocess
import tempfile

from program import PROGRAM

# Families of names by their mangled or C form. OpenSSL's are those that libssl and libcrypto export.
FAMILIES = {
    "Arrow": re.compile(r"5arrow"),
    "Parquet": re.compile(r"7parquet"),
    "torch": re.compile(r"^_Z\w*?(2at|3c10|5torch)"),
    "gRPC": re.compile(r"4grpc|9grpc_core|^grpc_"),
    "protobuf": re.compile(r"6google8protobuf"),
    "RE2": re.compile(r"3re2"),
    "simdjson": re.compile(r"8simdjson"),
    "Abseil": re.compile(r"4absl"),
    "AWS": re.compile(r"3Aws"),
}
ARROW_WHEEL = {"libarrow", "libarrow_compute", "libarrow_s3", "libparquet"}
OPENED_LATER = {"libgnomon_torch", "libgnomon_s3", "libarrow_s3"}
TORCH_WHEEL = {"libtorch_cpu", "libc10"}
OURS = {"libgnomon", "libgnomon_s3", "libgnomon_torch"}
OPENSSL = {"libssl", "libcrypto"}
ANY = None

# (one library, another one, family, names, why it is harmless)
ALLOWED = [
    (ARROW_WHEEL, ARROW_WHEEL, ANY, r"", "parts of one build"),
    (TORCH_WHEEL, TORCH_WHEEL, ANY, r"", "parts of one build"),
    (OURS, ANY, ANY, r"", "inline functions of the headers that ours were compiled with, from the same packages"),
    (OPENSSL, {"libparquet"}, "OpenSSL", r"",
     "libparquet's copy (for encrypted files, which we refuse); ours come first: checked below"),
    ({"libsimdjson"}, {"libparquet"}, "simdjson", r"",
     "libparquet's copy, which nothing that we call uses; ours comes first: checked below"),
    ({"libprotobuf"}, {"libtorch_cpu"}, "protobuf", r"^_ZN?K?Z?N?K?St",
     "templates of the standard library over types of protobuf whose layout both have"),
]

# The exporters of a family's names that calls from our code must reach.
OWNERS = {"OpenSSL": OPENSSL, "simdjson": {"libsimdjson"}, "protobuf": {"libprotobuf"}, "Arrow": ARROW_WHEEL,
          "Parquet": ARROW_WHEEL}


def stem(path: str) -> str:
    return pathlib.Path(path).name.split(".so")[0]


def loaded_libraries() -> dict[str, str]:
    """Every library that the program loads, by its name without version: at its start, when it trains, for S3."""
    folder = pathlib.Path(PROGRAM).resolve().parent.parent / "lib"
    roots = [str(path) for path in (folder / f"{name}.so" for name in sorted(OURS)) if path.exists()]
    libraries = {stem(root): root for root in roots}
    for root in roots:
        listing = subprocess.run(["ldd", root], check=True, capture_output=True, text=True).stdout
        assert "not found" not in listing, listing
        for path in re.findall(r"=> (/\S+)", listing):
            libraries[stem(path)] = path
    return libraries


def exported(path: str) -> set[str]:
    """Names that a library exports, without versions."""
    listing = subprocess.run(["nm", "-D", "--defined-only", path], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1].split("@")[0] for line in listing.splitlines() if line.split()[-2] in "TDBRGVWui"}


def family_of(name: str, openssl: set[str]) -> str | None:
    if name in openssl:
        return "OpenSSL"
    return next((family for family, pattern in FAMILIES.items() if pattern.search(name)), None)


def is_allowed(first: str, second: str, family: str, name: str, used: set[int]) -> bool:
    for number, (one, other, of, names, _) in enumerate(ALLOWED):
        for left, right in ((first, second), (second, first)):
            if (left in one and (other is ANY or right in other) and of in (ANY, family) and re.search(names, name)):
                used.add(number)
                return True
    return False


def check_exports(exports: dict[str, set[str]], openssl: set[str]) -> None:
    used: set[int] = set()
    clashes: dict[tuple, list[str]] = {}
    for first, second in itertools.combinations(sorted(exports), 2):
        for name in exports[first] & exports[second]:
            family = family_of(name, openssl)
            if family and not is_allowed(first, second, family, name, used):
                clashes.setdefault((first, second, family), []).append(name)
    told = [f"{first} and {second} both export {len(names)} names of {family}, such as {sorted(names)[:3]}"
            for (first, second, family), names in clashes.items()]
    assert not told, "\n".join(told)
    # torch is not always there; the other entries must still be needed.
    stale = [entry[4] for number, entry in enumerate(ALLOWED)
             if number not in used and entry[0] <= exports.keys() and (entry[1] is ANY or entry[1] <= exports.keys())]
    assert not stale, f"no names clash any more, remove from the list: {stale}"


def bindings() -> list[tuple[str, str, str]]:
    """(caller, callee, name) of every name that the linker resolved in one run."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"LD_DEBUG": "bindings", "LD_BIND_NOW": "1", "LD_DEBUG_OUTPUT": f"{folder}/log"}
        run = subprocess.run([PROGRAM, "version"], check=True, capture_output=True, text=True, env=environment)
        assert run.stdout.startswith("gnomon "), run
        text = "".join(path.read_text() for path in pathlib.Path(folder).iterdir())
    found = re.findall(r"binding file (\S+) \[\d+\] to (\S+) \[\d+\]: \w+ symbol `([^']+)'", text)
    return [(stem(caller), stem(callee), name) for caller, callee, name in found]


def check_bindings(exports: dict[str, set[str]], openssl: set[str]) -> None:
    bound = bindings()
    early = OPENED_LATER & {library for caller, callee, _ in bound for library in (caller, callee)}
    assert not early, f"loaded at the start already: {early}"
    reached = {family: 0 for family in OWNERS}
    for caller, callee, name in bound:
        family = family_of(name, openssl)
        if family == "OpenSSL":
            assert callee in OPENSSL, f"{name}, called by {caller}, is that of {callee}"
        if family in OWNERS and caller in OURS and callee not in OURS:
            assert callee in OWNERS[family], f"{family}: {name}, called by {caller}, is that of {callee}"
            reached[family] += 1
    silent = [family for family, count in reached.items() if count == 0]
    assert not silent, f"no call of ours was seen: {silent}"


def main() -> None:
    libraries = loaded_libraries()
    exports = {name: exported(path) for name, path in libraries.items()}
    for name in OURS | ARROW_WHEEL | OPENSSL:
        if name != "libgnomon_torch":
            assert exports.get(name), f"{name} is not loaded: {sorted(libraries)}"
    openssl = {name for library in OPENSSL for name in exports[library] if not name.startswith("_")}
    assert len(openssl) > 4000, len(openssl)
    check_exports(exports, openssl)
    check_bindings(exports, openssl)
    print(f"{len(libraries)} libraries, no clash")


main()
