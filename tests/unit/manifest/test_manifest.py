"""A folder of YAML, as changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from weft.digest import sha256

from schemas.commands import Change
from schemas.facts import Agent, Kind, Relation
from streams.subjects import relation_key
from workers.common.manifest import MAX_BATCH_BYTES, ManifestError, load, split

TOOL = """
kind: tool
name: {name}
owner: o
workload: spiffe://88mph.com/tools/{name}
endpoint: http://h
resource: https://h
actions: [a]
purposes: [p]
object_fields: {{order: /order}}
"""
SPACE = "kind: namespace\nprefix: spiffe://88mph.com/agents\nowner: o\nreview: 2027-05-01\n"


def folder(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def test_documents_of_several_files_come_in_an_order_that_can_be_split(tmp_path: Path) -> None:
    """Verifies that what others rely on comes first: namespaces, tools after the tools they want evidence of, relations, deletions last."""
    wanting = TOOL.format(name="a") + "evidence: [{tool: b, fields: [order]}]\n"
    relation = "kind: relation\nsubject: toolgroup:g\nrelation: contains\nobject: tool:a\n"
    gone = "delete: {kind: agent, id: spiffe://88mph.com/agents/x}\n---\n"
    gone += "delete: {kind: relation, subject: 'user:u', relation: member_of, object: 'team:t'}\n"
    changes = load(folder(tmp_path, a=relation + "---\n" + wanting, b=TOOL.format(name="b") + "---\n" + SPACE, c=gone))
    assert [(change.kind.value, change.key, change.body is None) for change in changes] == [
        ("namespace", "88mph~com.agents", False),
        ("tool", "b", False),
        ("tool", "a", False),
        ("relation", relation_key("toolgroup:g", "contains", "tool:a"), False),
        ("relation", relation_key("user:u", "member_of", "team:t"), True),
        ("agent", "88mph~com.agents.x", True),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: tool\nname: t\n", ["a.yaml, document 1", "tool: ", "owner", "Field required"]),
        (SPACE + "---\n" + SPACE.replace("owner: o", "owner: [1]"), ["a.yaml, document 2", "namespace: owner"]),
        (SPACE + "colour: blue\n", ["colour", "Extra inputs"]),
        ("kind: robot\n", ["document 1", "kind"]),
        ("name: x\n", ["document 1", "kind"]),
        ("- a\n- b\n", ["document 1", "not a fact"]),
        ("kind: [", ["a.yaml, line"]),
        ("kind: tool\nkind: agent\n", ["a.yaml, line", "named twice"]),
        ("a: &x [1]\nb: *x\n", ["a.yaml", "aliases"]),
        ("kind: !!python/object:os.system x\n", ["a.yaml, line"]),
        ("kind: posture\n", ["a posture follows from signals"]),
        ("kind: agent\nid: spiffe://88mph.com/a/\n", ["id", "trailing '/'"]),
        (SPACE + "---\n" + SPACE, ["document 2", "the same namespace as a.yaml, document 1"]),
        ("delete: {kind: agent, name: x}\n", ["document 1", "delete takes"]),
        ("delete: {kind: agent, id: x}\n", ["document 1", "delete takes"]),
        ("delete: {kind: tool, name: x}\nname: y\n", ["document 1", "delete takes"]),
        ("delete: x\n", ["document 1", "delete takes"]),
        ("# nothing\n", ["holds no facts"]),
    ],
)
def test_an_error_names_file_document_and_field(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ManifestError) as error:
        load(folder(tmp_path, a=text))
    for word in words:
        assert word in str(error.value)


def test_an_error_never_repeats_a_value(tmp_path: Path) -> None:
    """Verifies that a key pasted into the wrong field does not come back in the message."""
    with pytest.raises(ManifestError) as error:
        load(folder(tmp_path, a="kind: key\npurpose: SUAM-SECRET\nkid: [SUAM-SECRET]\njwk: SUAM-SECRET\ntrust_domain: t\n"))
    assert "SUAM-SECRET" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize(
    ("named", "kind", "key"),
    [
        ("{kind: tool, name: t}", Kind.TOOL, "t"),
        ("{kind: tool, key: t}", Kind.TOOL, "t"),
        ("{kind: issuer, iss: i}", Kind.ISSUER, sha256("i")),
        ("{kind: key, purpose: tokens, kid: k}", Kind.KEY, "tokens.k"),
        ("{kind: namespace, prefix: spiffe://a.b/c}", Kind.NAMESPACE, "a~b.c"),
    ],
)
def test_deletions(tmp_path: Path, named: str, kind: Kind, key: str) -> None:
    assert load(folder(tmp_path, a=f"delete: {named}\n")) == (Change(kind=kind, key=key),)


# --- split ----------------------------------------------------------------------------------------------------------------------


def relations(count: int) -> list[Change]:
    made = [Relation(subject=f"user:{n}", relation="member_of", object="team:t") for n in range(count)]
    return [Change(kind=Kind.RELATION, key=relation_key(one.subject, one.relation, one.object), body=one) for one in made]


def agents(count: int) -> list[Change]:
    plain = {"owner": "o", "realm": "first_party", "version": "1", "deployment": "d", "agent_type": "t", "selectors": {}}
    charter = {"purposes": ("p",), "tools": ("t",), "actions": ("a",)}
    made = [Agent.model_validate({"id": f"spiffe://88mph.com/a/{n}", "charter": charter, **plain}) for n in range(count)]
    return [Change(kind=Kind.AGENT, key=f"88mph~com.a.{n}", body=one) for n, one in enumerate(made)]


def test_split_keeps_order_and_bounds() -> None:
    """Verifies both bounds of a batch, and that nothing is lost or moved."""
    changes = relations(2001)
    batches = split(changes, most_bytes=10**9)
    assert [len(batch) for batch in batches] == [1000, 1000, 1]
    assert [change for batch in batches for change in batch] == changes
    assert all(sum(len(change.wire()) + 1 for change in batch) <= MAX_BATCH_BYTES for batch in split(agents(1000)))
    assert split(()) == ()


def test_split_leaves_room_for_the_guard() -> None:
    """Verifies that agents leave one place for the guard over namespaces, unless a namespace of the batch carries it."""
    from schemas.facts import Namespace

    space = Change(kind=Kind.NAMESPACE, key="88mph~com.a", body=Namespace(prefix="spiffe://88mph.com/a", owner="o"))
    assert [len(batch) for batch in split(agents(1000), most_bytes=10**9)] == [999, 1]
    assert [len(batch) for batch in split([space, *agents(999)], most_bytes=10**9)] == [1000]
