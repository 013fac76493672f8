"""The protobuf messages of the SPIFFE Workload API's JWT profile.  Workload API section 6; the service has no proto package.

Registered by hand in a descriptor pool of our own: protobuf's default pool is shared by a whole process, and a second module that
describes the same messages, a client's say, would collide with ours.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, struct_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICE = "SpiffeWorkloadAPI"

_Field = descriptor_pb2.FieldDescriptorProto
_STRING, _BYTES, _MESSAGE = _Field.TYPE_STRING, _Field.TYPE_BYTES, _Field.TYPE_MESSAGE
_ONE, _MANY = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED
_MAP_ENTRY = "BundlesEntry"  # a map is a repeated message with this option (proto3 language guide, "Backwards compatibility")


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="weft/spiffe_workload.proto", syntax="proto3", dependency=["google/protobuf/struct.proto"]
    )
    _message(file, "JWTSVIDRequest", ("audience", 1, _STRING, _MANY, ""), ("spiffe_id", 2, _STRING, _ONE, ""))
    _message(file, "JWTSVID", ("spiffe_id", 1, _STRING, _ONE, ""), ("svid", 2, _STRING, _ONE, ""), ("hint", 3, _STRING, _ONE, ""))
    _message(file, "JWTSVIDResponse", ("svids", 1, _MESSAGE, _MANY, ".JWTSVID"))
    _message(file, "JWTBundlesRequest")
    bundles = _message(file, "JWTBundlesResponse", ("bundles", 1, _MESSAGE, _MANY, f".JWTBundlesResponse.{_MAP_ENTRY}"))
    entry = bundles.nested_type.add(name=_MAP_ENTRY)
    entry.options.map_entry = True
    _fields(entry, ("key", 1, _STRING, _ONE, ""), ("value", 2, _BYTES, _ONE, ""))
    _message(file, "ValidateJWTSVIDRequest", ("audience", 1, _STRING, _ONE, ""), ("svid", 2, _STRING, _ONE, ""))
    _message(
        file,
        "ValidateJWTSVIDResponse",
        ("spiffe_id", 1, _STRING, _ONE, ""),
        ("claims", 2, _MESSAGE, _ONE, ".google.protobuf.Struct"),
    )
    return file


def _message(
    file: descriptor_pb2.FileDescriptorProto, name: str, *fields: tuple[str, int, Any, Any, str]
) -> descriptor_pb2.DescriptorProto:
    message = file.message_type.add(name=name)
    _fields(message, *fields)
    return message


def _fields(message: descriptor_pb2.DescriptorProto, *fields: tuple[str, int, Any, Any, str]) -> None:
    for name, number, kind, label, type_name in fields:
        message.field.add(name=name, number=number, type=kind, label=label, type_name=type_name or None)


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(_file().SerializeToString())
    return pool


_POOL = _pool()


def _class(name: str) -> Any:
    return GetMessageClass(_POOL.FindMessageTypeByName(name))


JWTSVIDRequest = _class("JWTSVIDRequest")
JWTSVID = _class("JWTSVID")
JWTSVIDResponse = _class("JWTSVIDResponse")
JWTBundlesRequest = _class("JWTBundlesRequest")
JWTBundlesResponse = _class("JWTBundlesResponse")
ValidateJWTSVIDRequest = _class("ValidateJWTSVIDRequest")
ValidateJWTSVIDResponse = _class("ValidateJWTSVIDResponse")
