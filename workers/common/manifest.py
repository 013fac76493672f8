"""A folder of YAML as changes, for `weft apply -f`.

Each document is one fact: `kind` and the fields of that kind in `schemas.facts`; or `delete:` with the kind and whatever names the
fact (its key, or the fields the key follows from).  Files are read in the order of their names, documents in theirs.

The changes come out in an order in which any prefix is valid by itself, so that a set beyond one atomic batch can be split: what
others rely on is written first and deleted last.

Nothing here is trusted more than a request: YAML is loaded without tags, sizes are bounded, and an error names file, document and field
but never repeats a value, which may be a key that somebody pasted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import TypeAdapter, ValidationError
from weft.digest import sha256
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.commands import Change
from schemas.facts import FactBody, Kind, Tool
from streams.facts_keys import key_of
from streams.subjects import relation_key

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_BATCH = 1000  # changes of one batch
MAX_BATCH_BYTES = 240_000  # of their JSON; a message of the fabric holds 256 KiB
_ORDER = tuple(
    Kind(name)
    for name in (
        "key", "namespace", "issuer", "person", "transmitter", "policy", "response", "detection", "subscription", "authserver",
        "tool", "agent", "client", "relation", "posture",
        "point", "approval", "pending",
    )
)  # fmt: skip
_FOLLOWS = {  # kinds of facts that no person writes
    Kind.POSTURE.value: "a posture follows from signals",
    Kind.POINT.value: "what a point is held to follows from what it acknowledges,",
    Kind.APPROVAL.value: "an approval is asked for by a request",
    Kind.PENDING.value: "a response waits because its transmitter may not cause it,",
}
_BODY: TypeAdapter[FactBody] = TypeAdapter(FactBody)


class ManifestError(Exception):
    """What is wrong, and where."""


class Document(NamedTuple):
    """One document of a file, and where it stands."""

    where: str
    content: dict[str, Any]


def load(directory: Path) -> tuple[Change, ...]:
    """Every change of the folder's `*.yaml` and `*.yml`, in order; `*.test.yaml` are cases (`weft policy test`).  Raises ManifestError."""
    if not directory.is_dir():
        raise ManifestError(f"{directory} is not a folder")
    changes: dict[tuple[Kind, str], tuple[Change, str]] = {}
    for path in sorted(path for path in directory.iterdir() if path.suffix in (".yaml", ".yml") and not path.stem.endswith(".test")):
        for document in documents(path):
            change = _change(document)
            place = (change.kind, change.key)
            if place in changes:
                raise ManifestError(f"{document.where}: the same {change.kind.value} as {changes[place][1]}")
            changes[place] = (change, document.where)
    if not changes:
        raise ManifestError(f"{directory} holds no facts (*.yaml)")
    return ordered(change for change, _ in changes.values())


def ordered(changes: Iterator[Change] | Sequence[Change]) -> tuple[Change, ...]:
    """What others rely on first; deletions last, the other way round.  Tools after the tools whose evidence they want."""
    changes = tuple(changes)
    puts = [change for change in changes if change.body is not None]
    deletions = [change for change in changes if change.body is None]
    depth = _evidence_depth([change.body for change in puts if isinstance(change.body, Tool)])
    puts.sort(key=lambda c: (_ORDER.index(c.kind), depth.get(c.key, 0) if c.kind is Kind.TOOL else 0, c.key.count("."), c.key))
    deletions.sort(key=lambda c: (-_ORDER.index(c.kind), -c.key.count("."), c.key))
    return (*puts, *deletions)


def split(changes: Sequence[Change], most: int = MAX_BATCH, most_bytes: int = MAX_BATCH_BYTES) -> tuple[tuple[Change, ...], ...]:
    """Ordered batches that the registry takes.  One place less where agents need a guard over namespaces (workers.registry.planning)."""
    batches: list[tuple[Change, ...]] = []
    batch: list[Change] = []
    size = 0
    for change in changes:
        length = len(change.wire()) + 1
        if batch and (len(batch) + 1 > most - _needs_guard((*batch, change)) or size + length > most_bytes):
            batches.append(tuple(batch))
            batch, size = [], 0
        batch.append(change)
        size += length
    return (*batches, tuple(batch)) if batch else tuple(batches)


def _needs_guard(batch: Sequence[Change]) -> bool:
    kinds = {change.kind for change in batch if change.body is not None}
    return Kind.AGENT in kinds and not any(change.kind is Kind.NAMESPACE for change in batch)


def _evidence_depth(tools: list[Tool]) -> dict[str, int]:
    """How many tools must be written before each; a circle of them stays in one batch or is refused."""
    wants = {tool.name: {rule.tool for rule in tool.evidence} for tool in tools}
    depth = dict.fromkeys(wants, 0)
    for _ in wants:
        following = {name: max((depth[step] + 1 for step in steps if step in depth), default=0) for name, steps in wants.items()}
        if following == depth:
            break
        depth = following
    return depth


def documents(path: Path) -> Iterator[Document]:
    """Every document of a file.  Raises ManifestError."""
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_FILE_BYTES:
            raise ManifestError(f"{path.name}: larger than {MAX_FILE_BYTES} bytes")
        for number, content in enumerate(yaml.load_all(raw.decode(), Loader=_Loader), 1):
            if content is None:
                continue
            if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
                raise ManifestError(f"{path.name}, document {number}: not a fact (fields and values)")
            yield Document(f"{path.name}, document {number}", content)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 0
        raise ManifestError(f"{path.name}, line {line}: {error.problem or 'not YAML'}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ManifestError(f"{path.name}: {type(error).__name__}, not readable as YAML") from None


class _Loader(yaml.SafeLoader):
    """Safe, and stricter: no aliases (a few lines of them make gigabytes), no name twice, and dates stay text as JSON has them."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=None if parent is None else parent.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the base class's
        names = [name.value for name, _ in node.value]
        if len(set(names)) != len(names):
            raise yaml.MarkedYAMLError(problem="a field is named twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def body_of(document: Document) -> FactBody:
    """The fact that it holds.  Raises ManifestError."""
    change = _change(document)
    if change.body is None:
        raise ManifestError(f"{document.where}: it deletes, and holds no fact")
    return change.body


def _change(document: Document) -> Change:
    content = dict(document.content)
    if "delete" in content:
        return _deletion(document)
    if content.get("kind") in _FOLLOWS:
        raise ManifestError(f"{document.where}: {_FOLLOWS[str(content['kind'])]} and is not applied")
    try:
        body = _BODY.validate_json(json.dumps(content))
    except ValidationError as error:
        raise ManifestError(f"{document.where}: {_told(error, document)}") from None
    except (TypeError, ValueError):
        raise ManifestError(f"{document.where}: it holds something that JSON does not have") from None
    return Change(kind=body.kind, key=key_of(body), body=body)


def _told(error: ValidationError, document: Document) -> str:
    """Fields and rules; the first element of a location is the kind, which is said once."""
    said = []
    for each in error.errors(include_input=False, include_context=False, include_url=False)[:5]:
        field = ".".join(str(part) for part in each["loc"][1:]) or "kind"
        said.append(f"{field}: {each['msg']}")
    kind = document.content.get("kind")
    return (f"{kind}: " if isinstance(kind, str) and kind in set(Kind) else "") + "; ".join(said)


# --- deletions ------------------------------------------------------------------------------------------------------------------


def _deletion(document: Document) -> Change:
    """`delete: {kind: agent, id: spiffe://...}`, or `{kind: ..., key: ...}` for any kind."""
    named = document.content["delete"]
    if set(document.content) != {"delete"} or not isinstance(named, dict) or not all(isinstance(value, str) for value in named.values()):
        raise ManifestError(f"{document.where}: delete takes a kind and what names the fact, and nothing stands beside it")
    fields = dict(named)
    try:
        kind = Kind(fields.pop("kind", ""))
        return Change(kind=kind, key=_named_key(kind, fields))
    except (KeyError, InvalidSpiffeID, ValueError):
        raise ManifestError(f"{document.where}: delete takes a known kind, and its key or the fields that name it") from None


def _named_key(kind: Kind, fields: dict[str, str]) -> str:
    if fields.keys() == {"key"}:
        return fields["key"]
    names = _NAMED_BY[kind]
    if fields.keys() != set(names):
        raise KeyError(kind)
    values = [fields[name] for name in names]
    match kind:
        case Kind.AGENT | Kind.NAMESPACE:
            return SpiffeID.parse(values[0]).subject
        case Kind.RELATION:
            return relation_key(*values)
        case Kind.TRANSMITTER | Kind.ISSUER | Kind.CLIENT:
            return sha256(values[0])
        case Kind.KEY:
            return ".".join(values)
        case _:
            return values[0]


_NAMED_BY: dict[Kind, tuple[str, ...]] = {
    Kind.AGENT: ("id",),
    Kind.NAMESPACE: ("prefix",),
    Kind.TOOL: ("name",),
    Kind.POLICY: ("name",),
    Kind.RESPONSE: ("name",),
    Kind.DETECTION: ("name",),
    Kind.SUBSCRIPTION: ("name",),
    Kind.PERSON: ("nkey",),
    Kind.TRANSMITTER: ("iss",),
    Kind.ISSUER: ("iss",),
    Kind.KEY: ("purpose", "kid"),
    Kind.CLIENT: ("client_id",),
    Kind.AUTHORIZATION_SERVER: ("name",),
    Kind.RELATION: ("subject", "relation", "object"),
}
