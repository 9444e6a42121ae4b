"""Audit messages as DICOM PS3.15 A.5 (Audit Trail Message Format Profile) lays them out, one line of XML each.

Access to images and what derives from them is told as DICOM Instances Accessed (110103), with C, R or D for created,
read and deleted; a caller who was denied as Security Alert (110113), Use of Restricted Function (110132). Participant
objects are digests and ids, never a patient or a study: the services do not know whose images they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias
from xml.etree import ElementTree as ET

Action: TypeAlias = Literal["C", "R", "D", "E"]
ObjectKind: TypeAlias = Literal["request_id", "image_digest", "embedding_id", "transform_id", "purge_tag"]

_SYSTEM = "99HILUM"
_SYSTEM_OBJECT = "2"
_DOMAIN_RESOURCE = "4"
_SERVER_PROCESS = "4"
# ParticipantObjectDataLifeCycle: origination, access or use, permanent erasure.
_LIFE_CYCLE: dict[Action, str] = {"C": "1", "R": "6", "D": "15", "E": "6"}
_NAMES: dict[ObjectKind, str] = {
    "request_id": "Request id",
    "image_digest": "Image digest (SHA-256)",
    "embedding_id": "Embedding id",
    "transform_id": "Transform id",
    "purge_tag": "Keyed hash of a group",
}


@dataclass(frozen=True)
class AuditedObject:
    """Something that was made, used or deleted: what kind of name it has, and the name in hex."""

    kind: ObjectKind
    identity: str


@dataclass(frozen=True)
class AuditEvent:
    """What somebody did.

    Attributes:
        at: When it ended, with a time zone.
        method: Name of the RPC, such as "EncodeImage".
        action: Created, read, deleted, or executed for a denied call.
        denied: Whether the caller was not allowed to.
        reason: Name of the ErrorReason; empty for a success.
        server_fault: Whether it failed by a fault of the server, not of the request.
        subject: Who asked.
        peer: Network address of the caller, without its port; empty where not known.
        request_id: Of the canonical log line.
        objects: What was concerned.
    """

    at: datetime
    method: str
    action: Action
    denied: bool
    reason: str
    server_fault: bool
    subject: str
    peer: str
    request_id: str
    objects: tuple[AuditedObject, ...] = ()


def audit_message(event: AuditEvent, source: str) -> bytes:
    """Returns the XML of an event, UTF-8, without line breaks.

    Args:
        event: What happened.
        source: Name of the server that tells it.
    """
    root = ET.Element("AuditMessage")
    identification = ET.SubElement(
        root,
        "EventIdentification",
        EventActionCode=event.action,
        EventDateTime=event.at.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=_outcome(event),
    )
    if event.denied:
        _code(identification, "EventID", "110113", "DCM", "Security Alert")
        _code(identification, "EventTypeCode", "110132", "DCM", "Use of Restricted Function")
    else:
        _code(identification, "EventID", "110103", "DCM", "DICOM Instances Accessed")
    _code(identification, "EventTypeCode", event.method, _SYSTEM, event.method)
    if event.reason:
        ET.SubElement(identification, "EventOutcomeDescription").text = event.reason
    caller = {"UserID": event.subject, "UserIsRequestor": "true"}
    if event.peer:
        caller |= {"NetworkAccessPointID": event.peer, "NetworkAccessPointTypeCode": "2"}
    ET.SubElement(root, "ActiveParticipant", caller)
    server = ET.SubElement(root, "ActiveParticipant", UserID=source, UserIsRequestor="false")
    _code(server, "RoleIDCode", "110150", "DCM", "Application")
    origin = ET.SubElement(root, "AuditSourceIdentification", AuditSourceID=source)
    ET.SubElement(origin, "AuditSourceTypeCode", {"csd-code": _SERVER_PROCESS})
    for audited in (AuditedObject("request_id", event.request_id), *event.objects):
        _participant(root, audited, event.action)
    message: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=False)
    return message


def _outcome(event: AuditEvent) -> str:
    """Returns 0 for success, 4 for a minor failure, 8 for a serious one."""
    if event.server_fault or event.denied:
        return "8"
    return "4" if event.reason else "0"


def _participant(root: ET.Element, audited: AuditedObject, action: Action) -> None:
    element = ET.SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=audited.identity,
        ParticipantObjectTypeCode=_SYSTEM_OBJECT,
        ParticipantObjectTypeCodeRole=_DOMAIN_RESOURCE,
        ParticipantObjectDataLifeCycle=_LIFE_CYCLE[action],
    )
    name = _NAMES[audited.kind]
    _code(element, "ParticipantObjectIDTypeCode", audited.kind, _SYSTEM, name)
    ET.SubElement(element, "ParticipantObjectName").text = name


def _code(parent: ET.Element, tag: str, code: str, system: str, meaning: str) -> None:
    ET.SubElement(parent, tag, {"csd-code": code, "codeSystemName": system, "originalText": meaning})
