"""A certified authorization server that is not ours (oidc-provider on node), for tests: installed, configured, started, asked."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm

SOURCE = Path(__file__).parents[1] / "interop" / "oidc-provider"
INSTALL_S = 180
CRM = "https://crm.88mph.com"
SCOPES = "crm.read crm.write"


def installed(folder: Path, source: Path = SOURCE) -> Path:
    """A program of others with all it needs, exactly as locked.  Without node it skips, where `CI` is set it fails."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        needed = "node and npm are needed: this test runs against a program that is not ours (docs/tokens.md)"
        if os.environ.get("CI"):
            pytest.fail(needed)  # what is not run there is run nowhere
        pytest.skip(needed)
    for file in ("package.json", "package-lock.json", *(script.name for script in source.glob("*.mjs"))):
        shutil.copy(source / file, folder / file)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    if done.returncode != 0:
        pytest.fail(f"npm ci failed:\n{(done.stderr or done.stdout)[-2000:]}")
    return folder


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.path = folder / "ca.pem"
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        self.path.write_bytes(self._signed(self._name, self._key.public_key(), (constraints, True)).public_bytes(Encoding.PEM))

    def issue(self, name: str, *, san: x509.GeneralName, folder: Path | None = None) -> tuple[Path, Path]:
        """A certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, private = ((folder or self.folder) / f"{name}.{kind}" for kind in ("crt", "key"))
        certificate.write_bytes(
            self._signed(subject, key.public_key(), (x509.SubjectAlternativeName([san]), False)).public_bytes(Encoding.PEM)
        )
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        private.chmod(0o600)
        return certificate, private

    def _signed(self, subject: x509.Name, key: Any, extension: tuple[x509.ExtensionType, bool]) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        return builder.not_valid_after(now + timedelta(hours=2)).add_extension(*extension).sign(self._key, SHA256())


@dataclass
class OtherServer:
    """The server, running."""

    issuer: str
    authority: Authority
    said: list[str] = field(default_factory=list)  # its own output, line by line

    async def introspect(self, token: str) -> dict[str, Any]:
        """What its resource server learns of a token, RFC 7662."""
        context = ssl.create_default_context(cafile=str(self.authority.path))
        async with httpx.AsyncClient(verify=context, trust_env=False) as http:
            answer = await http.post(f"{self.issuer}/token/introspection", data={"token": token}, auth=("crm", SECRET))
        answer.raise_for_status()
        said: dict[str, Any] = answer.json()
        return said

    async def heard(self, text: str, within_s: float = 10) -> str:
        """A line of its output."""
        async with asyncio.timeout(within_s):
            while True:
                for line in self.said:
                    if text in line:
                        return line
                await asyncio.sleep(0.02)


SECRET = secrets.token_urlsafe(24)


@asynccontextmanager
async def other_server(
    folder: Path, weft: dict[str, Any], *, ttl_s: int = 60, auth: dict[str, Any] | None = None, resource: str = CRM
) -> AsyncIterator[OtherServer]:
    """Started with `weft` (issuer and JWKS) as the one whose assertions it takes; `auth`: how the client `weft` proves itself."""
    authority = Authority(folder)
    certificate, key = authority.issue("server", san=x509.IPAddress(ip_address("127.0.0.1")))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    issuer = f"https://127.0.0.1:{port}"
    private = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    grants = ["client_credentials", *(f"urn:ietf:params:oauth:grant-type:{name}" for name in ("token-exchange", "jwt-bearer"))]
    client = {"redirect_uris": [], "response_types": [], "grant_types": grants, "scope": SCOPES, "id_token_signed_response_alg": "ES256"}
    proves = auth or {"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256", "jwks": weft["jwks"]}
    plain = {
        "redirect_uris": [],
        "response_types": [],
        "token_endpoint_auth_method": "client_secret_basic",
        "client_secret": SECRET,
        "grant_types": [],
        "id_token_signed_response_alg": "ES256",
    }
    config = {
        "issuer": issuer,
        "port": port,
        "weft": weft,
        "clients": [{**client, "client_id": "weft", **proves}, {**client, "client_id": "crm", **plain}],
        "jwks": {"keys": [{**private, "use": "sig", "alg": "ES256"}]},
        "resources": {resource: {"scope": SCOPES, "ttl": ttl_s}},
        "tls": {"key": str(key), "cert": str(certificate), "ca": str(authority.path)},
    }
    (folder / "config.json").write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        "node", "server.mjs", "config.json", cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    server = OtherServer(issuer, authority)
    reading = asyncio.create_task(_read(process, server))
    try:
        await server.heard("ready", 30)
        yield server
    finally:
        process.terminate()
        await process.wait()
        await reading


async def _read(process: asyncio.subprocess.Process, server: OtherServer) -> None:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        server.said.append(line.decode().rstrip())
