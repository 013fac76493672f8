"""The OAuth face for a client that is not ours: panva's oauth4webapi, which reads answers strictly and verifies what it is given.

Discovery, client_credentials, RFC 9068 validation by the JWKS, token exchange with an actor token, DPoP with our nonce, introspection,
revocation, and what is refused, over HTTP and a real fabric.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jwt.algorithms import ECAlgorithm

from tests.support import elsewhere
from tests.support.acting import API, consent, front, svid
from tests.support.oauth import RESEARCHER, TYPE
from tests.support.oauth_fabric import Clients, fabric

SOURCE = Path(__file__).parent / "oauth4webapi"
BACKEND = "https://backend.88mph.com"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return elsewhere.installed(tmp_path_factory.mktemp("oauth4webapi"), SOURCE)


def facts(clients: Clients) -> list[dict[str, Any]]:
    return [front(clients), consent()]


def run(program: Path, clients: Clients) -> dict[str, Any]:
    key = clients.keys["front"]
    given = {
        "issuer": clients.settings.issuer, "trust_domain": clients.settings.trust_domain, "backend": BACKEND,
        "jwk": json.loads(ECAlgorithm.to_jwk(key.private)), "kid": key.kid,
        "person": clients.person(aud=API, client_id="app"),
        "svid": svid(clients), "tool": svid(clients, "spiffe://88mph.com/tools/payments"),
    }  # fmt: skip
    command = ["node", "client.mjs"]
    done = subprocess.run(command, cwd=program, input=json.dumps(given), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said


async def test_a_client_of_others(fabric_server: Any, program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with fabric(fabric_server, facts, oauth_dpop_nonce=True) as (clients, _, _):
        said = await asyncio.to_thread(run, program, clients)
    with capsys.disabled():
        print(f"\noauth4webapi: {json.dumps(said)}")
    assert (said["own"]["token_type"], said["own"]["scope"]) == ("bearer", "ssf.read")
    assert (said["validated"]["sub"], said["validated"]["aud"]) == ("front", BACKEND)
    assert (said["transaction"]["token_type"], said["transaction"]["issued_token_type"]) == ("n_a", f"{TYPE}txn_token")
    assert (said["obo"]["token_type"], said["obo"]["issued_token_type"]) == ("bearer", f"{TYPE}access_token")
    assert (said["nonce"], said["bound"]["token_type"]) == ("use_dpop_nonce", "dpop")
    found = said["introspected"]
    assert (found["active"], found["sub"], found["aud"], found["act"]["sub"]) == (True, "marty", BACKEND, RESEARCHER)
    assert found["client_id"] == "front"
    assert said["revoked"] == {"active": False}
    assert said["refused"] == {
        "a type without its token": "invalid_request",
        "a person as actor": "invalid_request",
        "an actor of another path": "invalid_request",
        "another target": "invalid_target",
        "a wider scope": "invalid_scope",
    }
