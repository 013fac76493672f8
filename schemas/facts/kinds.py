"""The kinds of facts, and the words that several of them use."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal


class Kind(StrEnum):
    """The kinds of facts; the value is the subject token."""

    AGENT = "agent"
    TOOL = "tool"
    NAMESPACE = "namespace"
    RELATION = "relation"
    POLICY = "policy"
    RESPONSE = "response"
    POSTURE = "posture"
    PERSON = "person"
    TRANSMITTER = "transmitter"
    ISSUER = "issuer"
    KEY = "key"
    DETECTION = "detection"
    SUBSCRIPTION = "subscription"
    CLIENT = "client"
    AUTHORIZATION_SERVER = "authserver"
    POINT = "point"
    STREAM = "stream"
    CREDENTIAL = "credential"
    APPROVAL = "approval"
    PENDING = "pending"


Patterns = tuple[str, ...]
Environment = dict[str, str]
State = Literal["active", "suspended", "retired"]
