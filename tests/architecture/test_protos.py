"""The contract: documented, linted, generated, and protected against breaking changes."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from protos.generate import image
from tests.architecture.test_imports import ROOT

PACKAGE = Path("hilum/v1")
# Field numbers in descriptor.proto: where a path of source information leads.
MESSAGES, ENUMS, SERVICES = 4, 5, 6
FIELDS, NESTED_MESSAGES, NESTED_ENUMS, ONEOFS = 2, 3, 4, 8
VALUES, METHODS = 2, 2


def generate(*options: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs protos/generate.py."""
    command = [sys.executable, str(root / "protos" / "generate.py"), *options]
    return subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)


def test_stubs_are_those_of_the_protos() -> None:
    """The committed stubs are what the protos generate."""
    run = generate("--check")
    assert run.returncode == 0, run.stderr


def test_lint() -> None:
    """The protos keep buf's STANDARD rules."""
    run = generate("--lint")
    assert run.returncode == 0, run.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[descriptor_pb2.FileDescriptorProto]:
    """Our protos with their comments."""
    target = tmp_path_factory.mktemp("descriptors") / "image.binpb"
    image(ROOT / "protos", target)
    described = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    return [file for file in described.file if file.name.startswith(str(PACKAGE))]


def _in_message(
    message: descriptor_pb2.DescriptorProto, path: tuple[int, ...], name: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, name
    for index, field in enumerate(message.field):
        yield (*path, FIELDS, index), f"{name}.{field.name}"
    for index, oneof in enumerate(message.oneof_decl):
        if not oneof.name.startswith("_"):  # those are optional fields
            yield (*path, ONEOFS, index), f"{name}.{oneof.name}"
    for index, nested in enumerate(message.nested_type):
        yield from _in_message(nested, (*path, NESTED_MESSAGES, index), f"{name}.{nested.name}")
    for index, enum in enumerate(message.enum_type):
        yield from _in_enum(enum, (*path, NESTED_ENUMS, index), f"{name}.{enum.name}")


def _in_enum(
    enum: descriptor_pb2.EnumDescriptorProto, path: tuple[int, ...], name: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, name
    for index, value in enumerate(enum.value):
        yield (*path, VALUES, index), f"{name}.{value.name}"


def _elements(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yields the path and the name of everything that is declared in a file."""
    for index, message in enumerate(file.message_type):
        yield from _in_message(message, (MESSAGES, index), message.name)
    for index, enum in enumerate(file.enum_type):
        yield from _in_enum(enum, (ENUMS, index), enum.name)
    for index, service in enumerate(file.service):
        yield (SERVICES, index), service.name
        for number, method in enumerate(service.method):
            yield (SERVICES, index, METHODS, number), f"{service.name}.{method.name}"


def _comments(file: descriptor_pb2.FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {tuple(place.path): place.leading_comments.strip() for place in file.source_code_info.location}


def test_everything_is_documented(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    """Every message, field, oneof, enum, value, service and RPC has a comment of its own."""
    assert {file.package for file in files} == {"hilum.v1"}
    elements = [(file, path, name) for file in files for path, name in _elements(file)]
    assert len(elements) > 300
    assert [name for file, path, name in elements if not _comments(file).get(path)] == []


def test_every_rpc_lists_its_errors(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    """Every RPC that can fail on its own says with which reasons; only GetCapabilities takes nothing."""
    silent = [
        name
        for file in files
        for path, name in _elements(file)
        if path[0] == SERVICES and len(path) == 4 and "Errors" not in _comments(file)[path]
    ]
    assert silent == ["EncoderService.GetCapabilities", "FusionService.GetCapabilities"]


def test_styles(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    """Services end in Service, every RPC has a request and a response of its own, every enum an UNSPECIFIED zero."""
    services = [service for file in files for service in file.service]
    assert {service.name for service in services} == {"EncoderService", "DecoderService", "FusionService"}
    methods = [(service.name, method) for service in services for method in service.method]
    for service, method in methods:
        # A second service's method of the same name bears its service's name, as buf's STANDARD rules have it.
        assert method.input_type in {f".hilum.v1.{name}{method.name}Request" for name in ("", service)}
        assert method.output_type in {f".hilum.v1.{name}{method.name}Response" for name in ("", service)}
    messages = [name for _, method in methods for name in (method.input_type, method.output_type)]
    assert len(messages) == len(set(messages))
    for enum in (enum for file in files for enum in file.enum_type):
        assert enum.value[0].name.endswith("_UNSPECIFIED")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository of its own with the protos committed."""
    for name in ("protos", "hilum/v1", "buf.yaml"):
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message", "start"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def _replace(checkout: Path, name: str, old: str, new: str) -> None:
    path = checkout / "protos" / PACKAGE / name
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_additions_do_not_break(checkout: Path) -> None:
    """A new field passes the breaking check."""
    _replace(checkout, "image.proto", "  double y = 2;\n}", "  double y = 2;\n  // Depth.\n  double z = 3;\n}")
    run = generate("--against", "HEAD", root=checkout)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("image.proto", "double y = 2;\n}", "double y = 3;\n}"),
        ("image.proto", "double y_max = 4;", "float y_max = 4;"),
        ("image.proto", "  // Bottom edge.\n  double y_max = 4;\n", ""),
        ("decoder_service.proto", "rpc PredictMasks(", "rpc PredictAllMasks("),
        ("error_reason.proto", "ERROR_REASON_NO_CONTENT = 16", "ERROR_REASON_EMPTY = 16"),
    ],
    ids=["number", "type", "field", "method", "value"],
)
def test_breaking_changes_are_found(checkout: Path, name: str, old: str, new: str) -> None:
    """A changed number or type, and a removed field, method or value, fail the breaking check."""
    _replace(checkout, name, old, new)
    run = generate("--against", "HEAD", root=checkout)
    assert run.returncode != 0
    assert name in run.stdout


def test_drift_is_found(checkout: Path) -> None:
    """A proto that was changed without generating the stubs fails the check."""
    _replace(checkout, "image.proto", "// Bottom edge.", "// The bottom edge.")
    run = generate("--check", root=checkout)
    assert run.returncode == 1
    assert "image_pb2.pyi" in run.stderr
