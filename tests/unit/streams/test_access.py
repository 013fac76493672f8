"""The table of rights, as data: what it can and cannot say."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest

from streams import access
from streams.access import CREDENTIALS, EXPORTS, TEMPLATES, EmptyPermissions, Permissions

ALL = [credential.permissions for credential in CREDENTIALS.values()] + [template.permissions for template in TEMPLATES.values()]


def test_an_empty_permission_set_cannot_be_made() -> None:
    """INVARIANT: no credential is without rights, which NATS reads as all rights.

    A default that allows nothing by naming nothing would break it.
    """
    for empty in ({}, {"respond": True}, {"publish_deny": ("x",)}, {"publish": ("",)}, {"subscribe": ("x", "")}):
        with pytest.raises(EmptyPermissions):
            Permissions(**empty)
    with pytest.raises(FrozenInstanceError):
        Permissions(publish=("x",)).publish = ()  # type: ignore[misc]


def test_no_side_is_ever_written_empty() -> None:
    """INVARIANT: every credential and template names, for both sides, what is allowed or that all is denied.

    Leaving out a side without rights would break it: NATS reads that as every subject.
    """
    for permissions in ALL:
        claims = permissions.claims()
        for side in (claims["pub"], claims["sub"]):
            assert side.get("allow") or side == {"deny": [">"]}


def test_nobody_holds_a_wildcard_over_everything() -> None:
    for permissions in ALL:
        for subject in (*permissions.publish, *permissions.subscribe):
            assert subject.split(".")[0] not in (">", "*")
            assert subject not in ("weft.>", "$JS.>", "$JS.API.>", "$SYS.>", "_INBOX.>")


def test_templates_of_outer_accounts_end_in_the_name() -> None:
    """INVARIANT: an outer connection publishes on subjects of its own name, and reads no message of the fabric that all may not read.

    A template without the name would break it.
    """
    for template in TEMPLATES.values():
        for subject in template.permissions.publish:
            assert subject.endswith("." + access.NAME) or subject == access.DIRECT_GET_REVOCATIONS
        assert f"_INBOX.{access.NAME}.>" in template.permissions.subscribe
        assert not template.permissions.respond


def test_only_fabric_exports_and_no_stream_of_names_leaves_it() -> None:
    """INVARIANT: what leaves FABRIC by itself is revocations, which hold digests, notices that a tool changed, and
    canary tokens, which are good for nothing.

    Exporting facts or records would break it.
    """
    assert {export.subject for export in EXPORTS if export.type == "stream"} == {
        "weft.push.revocation.>",
        "weft.push.tool.>",
        "weft.push.drill.>",
    }
    assert {export.subject for export in EXPORTS if not export.share} <= {access.DIRECT_GET_REVOCATIONS, "weft.push.revocation.>"}
    assert all(export.to and export.by not in export.to and set(export.to) <= set(access.ACCOUNTS) for export in EXPORTS)
    assert {(export.subject, export.by) for export in EXPORTS if export.by != "FABRIC"} == {
        ("weft.edge.fetch", "EDGE"),
        ("weft.egress.health", "EGRESS"),
    }
    assert not any({"SYS", "AUTH"} & set(export.to) for export in EXPORTS)
    assert {export.subject for export in EXPORTS if "EGRESS" in export.to} == {  # what a guard needs, and the credential of a call
        *(f"weft.{family}.>" for family in ("attach", "claim", "use", "ack", "notice", "snapshot", "verdict", "release")),
        *(f"weft.push.{family}.>" for family in ("revocation", "tool", "drill")),
        access.DIRECT_GET_REVOCATIONS,
    }


def test_every_template_belongs_to_an_outer_account_and_is_bounded() -> None:
    assert {template.account for template in TEMPLATES.values()} == set(access.OUTER_ACCOUNTS) == set(access.LIMITS)
    assert "{{name()}}" in json.dumps(TEMPLATES["agent"].permissions.claims())


def test_admissions_system_user_may_cut_and_count_only() -> None:
    held = CREDENTIALS["admission-sys"].permissions
    assert held.publish == ("$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.*.KICK")
    assert CREDENTIALS["admission-auth"].permissions.claims()["pub"] == {"deny": [">"]}
