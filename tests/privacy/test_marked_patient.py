"""A patient whose name stands everywhere it can, and of whom nothing is found anywhere."""

import base64
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import redis
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag

from hilum import Client, Endpoints, Prompt, ViewRelation, Window
from hilum.errors import HilumError
from hilum.images import read_image
from hilum.serving.bundle import Bundle
from hilum.types import Box
from hilum.v1 import encoder_service_pb2 as encoder_pb
from hilum.v1 import fusion_service_pb2 as fusion_pb
from hilum.v1.encoder_service_pb2_grpc import EncoderServiceStub
from tests.contract.messages import box, encode_image, picture, predict_masks
from tests.integration.processes import ROOT, Process, decoder_of, free_port, service, valkey
from tests.privacy.emissions import Emissions
from tests.privacy.marked_requests import marked, methods, name_of, text_fields
from tests.unit.dicom.conftest import dataset

WINDOW = Window(500, 1000)
# Text of DICOM in which names of people, places and things stand.
_TEXTS = ("PN", "LO", "SH", "LT", "ST", "UT", "AE", "CS")
_KEYWORDS = (
    "PatientName",
    "PatientID",
    "PatientComments",
    "OtherPatientNames",
    "StudyDescription",
    "SeriesDescription",
    "AccessionNumber",
    "InstitutionName",
    "InstitutionAddress",
    "ReferringPhysicianName",
    "OperatorsName",
    "StationName",
    "ImageComments",
    "ProtocolName",
)


class Served:
    """All services with Redis, an audit file, and the most talkative log."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.audit, self.redis_port = folder / "audit.xml", free_port()
        url = f"redis://127.0.0.1:{self.redis_port}"
        common = {"log_level": "debug", "audit": str(self.audit)}
        cache = stack.enter_context(valkey(self.redis_port))
        self.encoder = stack.enter_context(service("encoder", redis_url=url, **common))
        self.decoder = stack.enter_context(decoder_of(self.encoder, url, **common))
        addresses = {"encoder": self.encoder.address, "decoder": self.decoder.address}
        self.fusion = stack.enter_context(service("fusion", redis_url=url, **addresses, **common))
        self.processes: list[Process] = [cache, self.encoder, self.decoder, self.fusion]
        self.endpoints = Endpoints(self.encoder.address, self.decoder.address, self.fusion.address)

    def address_of(self, method: str) -> str:
        """Returns who serves a method."""
        services = {"Encoder": self.encoder, "Decoder": self.decoder, "Fusion": self.fusion}
        return next(process.address for name, process in services.items() if name in method)

    def emissions(self, errors: list[str]) -> Emissions:
        """Returns everything that was emitted until now."""
        emissions = Emissions()
        emissions.of_processes(self.processes)
        emissions.of_redis(self.redis_port)
        emissions.of_file(self.audit)
        emissions.of_errors(errors)
        return emissions


@pytest.fixture(scope="module")
def served(default_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    del default_bundle
    with ExitStack() as stack:
        yield Served(stack, tmp_path_factory.mktemp("privacy"))


def new_mark() -> str:
    """Returns a name that nobody has."""
    return f"Mustermann{secrets.token_hex(6)}"


def valid(served: Served) -> dict[str, Message]:
    """Returns requests that are answered, by the RPC's name."""
    image = encode_image(picture(seed=5))
    with grpc.insecure_channel(served.encoder.address) as channel:
        stub = EncoderServiceStub(channel)
        encoded = stub.EncodeImage(image)
    side = fusion_pb.FusionImage(pixels=image.pixels, intensity_mapping=image.options.intensity_mapping)
    registering = fusion_pb.RegisterImagesRequest(
        fixed=side, moving=side, view_relation=fusion_pb.VIEW_RELATION_COMPARABLE
    )
    return {
        "EncodeImage": image,
        "EncodeImages": encoder_pb.EncodeImagesRequest(item_id="1", image=image),
        "PurgeEmbeddings": encoder_pb.PurgeEmbeddingsRequest(image_digests=[bytes(32)]),
        "PredictMasks": predict_masks(encoded.embedding_id, box(5, 5, 50, 40)),
        "RegisterImages": registering,
    }


def ask(served: Served, method: Any, path: str, request: Message, metadata: tuple[tuple[str, str], ...]) -> list[str]:
    """Calls any RPC with one request; returns what its caller was told of errors, metadata included."""
    kind = ("stream" if method.client_streaming else "unary") + ("_stream" if method.server_streaming else "_unary")
    with grpc.insecure_channel(served.address_of(path), options=[("grpc.enable_retries", 0)]) as channel:
        call = getattr(channel, kind)(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        given: Any = iter([request]) if method.client_streaming else request
        try:
            answered: Any = call(given, timeout=60, metadata=metadata)
            if method.server_streaming:
                list(answered)
        except grpc.RpcError as error:
            told: Any = error
            return [f"{told.code()} {told.details()} {told.trailing_metadata()} {told.initial_metadata()}"]
    return []


def test_text_of_requests_is_found_nowhere(served: Served) -> None:
    """Names in every text field of every RPC, alone and in valid requests, and in metadata, are emitted nowhere."""
    bases = valid(served)
    marks, errors = {}, []
    for path, method in methods():
        empty = GetMessageClass(method.input_type)()
        for way in text_fields(method.input_type):
            for request in filter(None, (empty, bases.get(method.name))):
                mark = new_mark()
                marks[mark] = f"{method.name} {name_of(way)}"
                metadata = (("x-hilum-tenant", mark.lower()), ("x-request-id", mark), ("x-patient", mark))
                errors += ask(served, method, path, marked(request, way, mark), metadata)
    assert len(marks) >= 40
    assert len(errors) >= 10
    emissions = served.emissions(errors)
    assert emissions.found["keys in Redis"]
    assert emissions.found["audit.xml"]
    assert {marks[mark]: emissions.holding(mark) for mark in marks if emissions.holding(mark)} == {}


def test_text_of_files_and_names_of_files_are_found_nowhere(served: Served, tmp_path: Path) -> None:
    """Names in DICOM files that the SDK and the command line read, in files' names and groups, are emitted nowhere."""
    mark = new_mark()
    assert all(dictionary_VR(Tag(keyword)) in _TEXTS for keyword in _KEYWORDS)
    pixels = picture(seed=6, size=(120, 128))
    paths = []
    for number in range(2):
        file = dataset(pixels + number, **dict.fromkeys(_KEYWORDS, mark), RescaleSlope=1, RescaleIntercept=0)
        file.Modality = "CT"
        paths.append(tmp_path / f"{mark}-{number}.dcm")
        file.save_as(paths[-1], enforce_file_format=True)
    assert mark.encode() in paths[0].read_bytes()
    errors: list[str] = []
    with Client(served.endpoints) as client:
        fixed, moving = (read_image(path) for path in paths)
        client.predict(fixed, [Prompt(box=Box(30, 30, 90, 90))], mapping=WINDOW)
        with suppress(HilumError):
            client.register(fixed, moving, view_relation=ViewRelation.COMPARABLE)
        with pytest.raises(HilumError) as refused:
            client.fuse(fixed, moving, bytes(32))
        errors.append(str(refused.value))
    where = ["--encoder", served.encoder.address, "--decoder", served.decoder.address]
    command = ["segment", str(paths[0]), "--box", "30,30,90,90", "--group", mark, "--label", mark]
    run = subprocess.run(
        [sys.executable, "-m", "hilum.cli", *where, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert served.emissions(errors).holding(mark) == []


def test_arrays_that_spell_a_name_are_pixels_and_not_searched_for(served: Served) -> None:
    """Pixels are patient data themselves: they are kept nowhere, only what the model makes of them."""
    image = np.zeros((64, 64), np.uint8)
    mark = new_mark()
    image[0, : len(mark)] = np.frombuffer(mark.encode(), np.uint8)
    request = encode_image(image)
    with grpc.insecure_channel(served.encoder.address) as channel:
        EncoderServiceStub(channel).EncodeImage(request)
    assert served.emissions([]).holding(mark) == []


@pytest.mark.parametrize("place", ["log", "key", "value", "error", "audit"])
def test_a_name_that_is_emitted_is_found(served: Served, place: str) -> None:
    """The search can find: a name that a process, Redis, a caller or the trail really got is found there."""
    mark = new_mark()
    emissions = Emissions()
    with redis.Redis(port=served.redis_port) as admin:
        match place:
            case "log":
                # A server says which model it lacks: a name out of its environment.
                environment = {**os.environ, "HILUM_MODELS": f'["{mark}"]'}
                command = [sys.executable, "-m", "services.encoder"]
                run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
                emissions.of_text("output", run.stdout)
            case "key":
                admin.set(f"hilum:{mark}", "value", ex=60)
            case "value":
                admin.set("hilum:planted", b"\0\1" + mark.encode().hex().encode(), ex=60)
            case "error":
                emissions.of_text("errors", f"no patient {mark}")
            case "audit":
                with served.audit.open("ab") as audit:
                    audit.write(f"<AuditMessage UserID='{mark}'/>\n".encode())
        emissions.found |= {} if place in {"log", "error"} else served.emissions([]).found
        admin.delete(f"hilum:{mark}", "hilum:planted")
    assert emissions.holding(mark)


@pytest.mark.parametrize(
    "form", [str.encode, lambda name: name.encode("utf-16-le"), lambda name: name.upper().encode()]
)
@pytest.mark.parametrize("before", [b"", b"1", b"12"])
def test_names_are_found_in_other_writings(form: Callable[[str], bytes], before: bytes) -> None:
    """In hex and in base64, wherever it begins, in UTF-16 and in capitals a name is the same name."""
    mark = new_mark()
    for written in (form(mark), form(mark).hex().encode(), base64.b64encode(before + form(mark) + b"xyz")):
        emissions = Emissions({"somewhere": b"around " + written + b" it"})
        assert emissions.holding(mark) == ["somewhere"]
    assert Emissions({"somewhere": b"around it"}).holding(mark) == []
