"""Keycloak, run from a distribution that KEYCLOAK_HOME names, and asked as its administrator and as a resource server of it."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from string import Template
from typing import Any

import httpx
import pytest
from cryptography import x509

from tests.support.elsewhere import CRM, Authority
from workers.supervisor.waiting import free_port

REALM = Path(__file__).parents[1] / "interop" / "keycloak" / "realm.json"
STARTED_S = 600
LEVELS = "INFO,org.keycloak.events:debug"
SECRET, ADMIN = secrets.token_urlsafe(24), secrets.token_urlsafe(24)


def distribution() -> Path:
    """What is to be run.  Skips without one: it is 170 MB, and no part of `make test`."""
    home = os.environ.get("KEYCLOAK_HOME")
    if not home:
        pytest.skip("KEYCLOAK_HOME names no unpacked Keycloak 26.7: docs/tokens.md says what this test shows")
    return Path(home)


class Keycloak:
    """The server, running."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, authority: Authority, log: Path) -> None:
        self.process = process
        self.url = f"https://127.0.0.1:{port}"
        self.authority = authority
        self.log = log
        self.context = ssl.create_default_context(cafile=str(authority.path))

    def lines(self) -> list[str]:
        """Its own output."""
        return self.log.read_text(errors="replace").splitlines()

    def events(self, realm: str) -> list[str]:
        """What it says of itself: type of event, client, grant, error and reason."""
        wanted = re.compile(r'\b(type|clientId|grant_type|client_auth_method|username|error|reason)="([^"]*)"')
        found = [line for line in self.lines() if "org.keycloak.events" in line and f'realmName="{realm}"' in line]
        return [" ".join(f"{name}={value}" for name, value in wanted.findall(line)) for line in found]

    @contextmanager
    def admin(self) -> Iterator[httpx.Client]:
        """As its administrator, whose token lives a minute."""
        form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": ADMIN}
        with httpx.Client(verify=self.context, trust_env=False, timeout=30) as http:
            given = http.post(f"{self.url}/realms/master/protocol/openid-connect/token", data=form).raise_for_status().json()
            http.headers["authorization"] = f"Bearer {given['access_token']}"
            yield http

    def make_realm(self, **values: str) -> str:
        """Another one, of tests/interop/keycloak/realm.json."""
        name = f"weft-{secrets.token_hex(4)}"
        text = Template(REALM.read_text()).substitute(realm=name, crm_secret=SECRET, **values)
        with self.admin() as http:
            http.post(f"{self.url}/admin/realms", content=text, headers={"content-type": "application/json"}).raise_for_status()
        return name

    def change_client(self, realm: str, client_id: str, **attributes: str) -> None:
        """Some of its attributes."""
        with self.admin() as http:
            clients = f"{self.url}/admin/realms/{realm}/clients"
            (found,) = http.get(clients, params={"clientId": client_id}).raise_for_status().json()
            found["attributes"] |= attributes
            http.put(f"{clients}/{found['id']}", json=found).raise_for_status()

    async def introspect(self, realm: str, token: str, resource: str = CRM) -> dict[str, Any]:
        """What the resource server learns of a token, RFC 7662."""
        async with httpx.AsyncClient(verify=self.context, trust_env=False, timeout=30) as http:
            where = f"{self.url}/realms/{realm}/protocol/openid-connect/token/introspect"
            answer = await http.post(where, data={"token": token, "client_id": resource, "client_secret": SECRET})
        answer.raise_for_status()
        said: dict[str, Any] = answer.json()
        return said

    def stop(self) -> None:
        """It and its shell."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def keycloak(folder: Path) -> Iterator[Keycloak]:
    """A copy of the distribution, in memory, with TLS and client certificates of one authority; the preview feature `spiffe` is on."""
    home = folder / "keycloak"
    shutil.copytree(distribution(), home)
    authority = Authority(folder)
    certificate, key = authority.issue("server", san=x509.IPAddress(ip_address("127.0.0.1")))
    port, log = free_port(), folder / "keycloak.log"
    command = [
        str(home / "bin" / "kc.sh"), "start-dev", "--db=dev-mem", "--cache=local", "--http-host=127.0.0.1", f"--http-port={free_port()}",
        f"--https-port={port}", f"--https-certificate-file={certificate}", f"--https-certificate-key-file={key}",
        "--https-client-auth=request", f"--truststore-paths={authority.path}", "--features=spiffe", f"--log-level={LEVELS}",
    ]  # fmt: skip
    own = {"KC_BOOTSTRAP_ADMIN_USERNAME": "admin", "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN, "JAVA_OPTS_KC_HEAP": "-Xms128m -Xmx640m"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **own}, cwd=home, start_new_session=True)
    made = Keycloak(process, port, authority, log)
    try:
        _wait(made)
        yield made
    finally:
        made.stop()


def _wait(made: Keycloak) -> None:
    until = time.monotonic() + STARTED_S
    while not any("Listening on" in line for line in made.lines()):
        if made.process.poll() is not None or time.monotonic() > until:
            pytest.fail("Keycloak did not start:\n" + "\n".join(made.lines()[-20:]))
        time.sleep(0.25)


@contextmanager
def bundle_endpoint(document: dict[str, Any]) -> Iterator[str]:
    """A SPIFFE bundle endpoint (SPIFFE Federation section 5), as SPIRE has one; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/bundle"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
