import datetime as dt
import io
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hilum.serving.audit import AuditRecord, AuditTrail
from hilum.serving.audit_sinks import AuditFile, audit_sink
from hilum.serving.telemetry import Telemetry

PATIENCE_S = 30


class Held:
    """A sink that fails, or waits, as long as the test likes."""

    def __init__(self) -> None:
        self.fails = True
        self.asked = threading.Event()
        self.go = threading.Event()
        self.written: list[bytes] = []

    def write(self, message: bytes) -> None:
        self.asked.set()
        assert self.go.wait(PATIENCE_S)
        if self.fails:
            raise ConnectionRefusedError
        self.written.append(message)

    def close(self) -> None:
        """Does nothing."""


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry("encoder", stream=io.StringIO())


def ended(trail: AuditTrail, method: str, code: str = "OK", reason: str = "") -> None:
    record = AuditRecord(subject="0123456789abcdef")
    record.concerns("image_digest", bytes(32))
    trail.rpc_ended(
        f"/hilum.v1.EncoderService/{method}",
        code,
        reason,
        record=record,
        peer="ipv6:%5B::1%5D:40000",
        request_id="request-7",
    )


def parsed(message: bytes) -> ET.Element:
    return ET.fromstring(message)  # noqa: S314  # our own


def lines_of(path: Path) -> list[ET.Element]:
    return [parsed(line) for line in path.read_bytes().splitlines()]


def identification(message: ET.Element) -> ET.Element:
    found = message.find("EventIdentification")
    assert found is not None
    return found


def test_a_call_is_told_as_the_standard_lays_it_out(tmp_path: Path, telemetry: Telemetry) -> None:
    """EventIdentification, caller, server, source and objects stand in the schema's order with its codes."""
    trail = AuditTrail(AuditFile(tmp_path / "audit.xml"), telemetry)
    ended(trail, "EncodeImage")
    trail.close()
    (message,) = lines_of(tmp_path / "audit.xml")
    assert [part.tag for part in message] == [
        "EventIdentification",
        "ActiveParticipant",
        "ActiveParticipant",
        "AuditSourceIdentification",
        "ParticipantObjectIdentification",
        "ParticipantObjectIdentification",
    ]
    event = identification(message)
    assert (event.get("EventActionCode"), event.get("EventOutcomeIndicator")) == ("C", "0")
    assert [code.get("csd-code") for code in event] == ["110103", "EncodeImage"]
    assert dt.datetime.fromisoformat(str(event.get("EventDateTime"))).tzinfo is not None
    caller = message[1]
    assert caller.attrib == {
        "UserID": "0123456789abcdef",
        "UserIsRequestor": "true",
        "NetworkAccessPointID": "::1",
        "NetworkAccessPointTypeCode": "2",
    }
    assert [part.get("ParticipantObjectID") for part in message[4:]] == ["request-7", "00" * 32]
    assert telemetry.value("hilum_audit_events_total", event="written") == 1


@pytest.mark.parametrize(
    ("method", "code", "reason", "action", "outcome"),
    [
        ("PredictMasks", "OK", "", "R", "0"),
        ("PurgeEmbeddings", "OK", "", "D", "0"),
        ("EncodeImage", "INVALID_ARGUMENT", "INVALID_FIELD", "C", "4"),
        ("RegisterImages", "CANCELLED", "", "C", "4"),
        ("EncodeImage", "INTERNAL", "INTERNAL", "C", "8"),
        ("FindMissingEmbeddings", "PERMISSION_DENIED", "PERMISSION_DENIED", "E", "8"),
    ],
)
def test_outcomes(
    tmp_path: Path, telemetry: Telemetry, *, method: str, code: str, reason: str, action: str, outcome: str
) -> None:
    """Refusals are minor failures; faults of the server and denials, of whatever call, are serious ones."""
    trail = AuditTrail(AuditFile(tmp_path / "audit.xml"), telemetry)
    ended(trail, method, code, reason)
    trail.close()
    event = identification(lines_of(tmp_path / "audit.xml")[0])
    assert (event.get("EventActionCode"), event.get("EventOutcomeIndicator")) == (action, outcome)
    assert (event.findtext("EventOutcomeDescription") or "") == (reason or ("" if code == "OK" else code))
    assert event[0].get("csd-code") == ("110113" if action == "E" else "110103")


def test_what_touches_no_image_is_no_event(tmp_path: Path, telemetry: Telemetry) -> None:
    """Capabilities, and a digest that is answered with PIXELS_REQUIRED, are not told."""
    trail = AuditTrail(AuditFile(tmp_path / "audit.xml"), telemetry)
    ended(trail, "GetCapabilities")
    ended(trail, "EncodeImage", "NOT_FOUND", "PIXELS_REQUIRED")
    trail.close()
    assert lines_of(tmp_path / "audit.xml") == []


def test_nothing_waits_for_a_sink_and_what_is_lost_is_counted(telemetry: Telemetry) -> None:
    """With a sink that hangs, calls return; what finds the queue full is counted and logged, the rest is written."""
    sink = Held()
    sink.fails = False
    trail = AuditTrail(sink, telemetry, queued=3)
    ended(trail, "EncodeImage")
    assert sink.asked.wait(PATIENCE_S)
    for _ in range(5):
        ended(trail, "EncodeImage")
    assert telemetry.value("hilum_audit_events_total", event="lost") == 2
    sink.go.set()
    trail.close(PATIENCE_S)
    assert len(sink.written) == 4


def test_what_is_queued_is_written_before_the_end(tmp_path: Path, telemetry: Telemetry) -> None:
    """Closing writes every event that was told before it."""
    trail = AuditTrail(AuditFile(tmp_path / "audit.xml"), telemetry)
    for _ in range(500):
        ended(trail, "PredictMasks")
    trail.close(PATIENCE_S)
    assert len(lines_of(tmp_path / "audit.xml")) == 500


def test_a_sink_that_is_away_at_the_end_costs_events_not_the_end(telemetry: Telemetry) -> None:
    """Where the sink refuses until the end, the server ends, and what was not written is counted as lost."""
    sink = Held()
    sink.go.set()
    trail = AuditTrail(sink, telemetry)
    for _ in range(3):
        ended(trail, "EncodeImage")
    trail.close(PATIENCE_S)
    assert telemetry.value("hilum_audit_events_total", event="lost") == 3


class SyslogServer:
    """A TLS server that reads RFC 5425 frames."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "syslog under test")])
        now = dt.datetime.now(dt.UTC)
        addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(addresses, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.certificate, key_file = folder / "certificate.pem", folder / "key.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        formats = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key_file.write_bytes(key.private_bytes(*formats, plain))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key_file)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.frames: list[bytes] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        plain, _ = self._listening.accept()
        try:
            with self._context.wrap_socket(plain, server_side=True).makefile("rb") as stream:
                while True:
                    length = b""
                    while (byte := stream.read(1)) not in (b" ", b""):
                        length += byte
                    if not length:
                        return
                    self.frames.append(stream.read(int(length)))
        except ssl.SSLError:
            return

    def close(self) -> None:
        self._listening.close()
        self.thread.join(PATIENCE_S)


@pytest.fixture
def syslog(tmp_path: Path) -> Iterator[SyslogServer]:
    server = SyslogServer(tmp_path)
    yield server
    server.close()


def test_messages_go_to_a_syslog_server_over_tls(syslog: SyslogServer, telemetry: Telemetry) -> None:
    """Frames have the length that they say, RFC 5424's header, the standard's message id, and the XML."""
    trail = AuditTrail(audit_sink(f"syslog-tls://127.0.0.1:{syslog.port}", syslog.certificate), telemetry)
    ended(trail, "EncodeImage")
    ended(trail, "PurgeEmbeddings")
    trail.close(PATIENCE_S)
    syslog.thread.join(PATIENCE_S)
    assert len(syslog.frames) == 2
    for frame, action in zip(syslog.frames, "CD", strict=True):
        header, _, message = frame.partition(b"\xef\xbb\xbf")
        assert header.startswith(b"<85>1 ")
        assert header.split()[5:] == [b"DICOM+RFC3881", b"-"]
        assert identification(parsed(message)).get("EventActionCode") == action


def test_a_server_that_is_not_trusted_gets_nothing(syslog: SyslogServer, telemetry: Telemetry) -> None:
    """Without a certificate that vouches for the server, no event is sent to it; they are counted as lost."""
    trail = AuditTrail(audit_sink(f"syslog-tls://127.0.0.1:{syslog.port}", None), telemetry)
    ended(trail, "EncodeImage")
    trail.close(PATIENCE_S)
    assert syslog.frames == []
    assert telemetry.value("hilum_audit_events_total", event="lost") == 1
