"""Compares our texts of Feast's messages with the descriptors in the installed feast package.

usage: compare_with_feast.py PROTOC FOLDER

Every message, field, map and enum value under FOLDER/feast must stand in Feast's with the same name, number, type and
label. Feast may have more: what we leave out is carried along as unknown fields.
"""

import importlib
import pathlib
import pkgutil
import subprocess
import sys
import tempfile

import feast.protos.feast
from google.protobuf import descriptor_pb2, descriptor_pool


def our_files(protoc: str, folder: pathlib.Path) -> list[descriptor_pb2.FileDescriptorProto]:
    texts = sorted(path.relative_to(folder).as_posix() for path in (folder / "feast").rglob("*.proto"))
    with tempfile.NamedTemporaryFile(suffix=".pb") as out:
        subprocess.run([protoc, "-I", str(folder), f"--descriptor_set_out={out.name}", *texts], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(out.name).read_bytes()).file
    return list(files)


def load_feast() -> descriptor_pool.DescriptorPool:
    for package in ("core", "types"):
        module = importlib.import_module(f"feast.protos.feast.{package}")
        for found in pkgutil.iter_modules(module.__path__):
            if found.name.endswith("_pb2"):
                importlib.import_module(f"{module.__name__}.{found.name}")
    return descriptor_pool.Default()


def messages(file: descriptor_pb2.FileDescriptorProto):
    def below(prefix, message):
        name = f"{prefix}.{message.name}"
        yield name, message
        for nested in message.nested_type:
            yield from below(name, nested)

    for message in file.message_type:
        yield from below(file.package, message)


def enums(file: descriptor_pb2.FileDescriptorProto):
    for enum in file.enum_type:
        yield f"{file.package}.{enum.name}", enum
    for name, message in messages(file):
        for enum in message.enum_type:
            yield f"{name}.{enum.name}", enum


def field_facts(field: descriptor_pb2.FieldDescriptorProto) -> tuple:
    return (field.number, field.Type.Name(field.type), field.Label.Name(field.label), field.type_name)


def compare_message(name, ours, pool) -> list[str]:
    try:
        descriptor = pool.FindMessageTypeByName(name)
    except KeyError:
        return [f"{name}: feast has no such message"]
    theirs = descriptor_pb2.DescriptorProto()
    descriptor.CopyToProto(theirs)
    known = {field.name: field for field in theirs.field}
    failures = []
    for field in ours.field:
        if field.name not in known:
            failures.append(f"{name}.{field.name}: feast has no such field")
        elif field_facts(field) != field_facts(known[field.name]):
            failures.append(f"{name}.{field.name}: {field_facts(field)}, feast has {field_facts(known[field.name])}")
    if ours.options.map_entry != theirs.options.map_entry:
        failures.append(f"{name}: a map for one side only")
    return failures


def compare_enum(name, ours, pool) -> list[str]:
    try:
        theirs = pool.FindEnumTypeByName(name).values_by_name
    except KeyError:
        return [f"{name}: feast has no such enum"]
    return [f"{name}.{value.name}: {value.number}, feast has {theirs[value.name].number if value.name in theirs else None}"
            for value in ours.value if value.name not in theirs or theirs[value.name].number != value.number]


def main() -> int:
    protoc, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    files = our_files(protoc, folder)
    pool = load_feast()
    failures, num_messages, num_fields = [], 0, 0
    for file in files:
        for name, message in messages(file):
            num_messages += 1
            num_fields += len(message.field)
            failures += compare_message(name, message, pool)
        for name, enum in enums(file):
            failures += compare_enum(name, enum, pool)
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"{num_messages} messages, {num_fields} fields, {len(failures)} differences")
    return 1 if failures or not num_messages else 0


if __name__ == "__main__":
    sys.exit(main())
