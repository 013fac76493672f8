"""Settings of the workers.  Read once, in `app.py`; what is missing or wrong stops the process with a sentence that says what.

`weft up` writes `fabric.json` into the state folder; `WEFT_<FIELD>` in the environment overrides a field.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from config.limits import EdgeLimits, Limits, OAuthLimits


class SettingsError(Exception):
    """A setting is missing or wrong; the text names it."""


def loopback(host: str) -> bool:
    """Whether only this machine reaches that host.  A name other than `localhost` counts as reachable: names change."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        ip_network(text)
    return value


Networks = Annotated[tuple[str, ...], AfterValidator(_networks)]


class OutboundPrivate(BaseModel):
    """Networks (CIDR) that HTTP requests may reach though they are not global, by what the request is for.  None of them in most fabrics.

    Whoever may choose an address of one kind can have what lies in its networks called: a client its metadata document, a receiver its
    push endpoint, a registrar a transmitter, an authorization server or the upstream of a tool.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metadata: Networks = ()  # documents of clients (CIMD), their keys, and protected resource metadata of tools
    receivers: Networks = ()  # where our signals are pushed to
    transmitters: Networks = ()  # of signals: their configuration, keys and API, their authorization server, where receipts go
    servers: Networks = ()  # authorization servers that the broker asks for tokens
    upstreams: Networks = ()  # of tools behind the egress


class Settings(BaseModel):
    """One fabric, as every worker of it sees it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    state: Path  # the folder of creds/, keys/ and what a replay can rebuild
    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)  # nats-server URLs; tls:// unless loopback
    trust_domain: str = "88mph.com"
    issuer: str = "https://txn-svc.88mph.com"  # `iss` of Transaction Tokens
    gateway_id: str = "apigateway.88mph.com"  # `req_wl` of Transaction Tokens
    mode: Literal["development", "production"] = "development"  # production refuses development SVIDs
    environment: dict[str, str] = {"environment": "prod", "region": "us-east"}  # what charters and tools are compared with
    limits: Limits = Limits()  # of one caller
    load_deadline_s: float = Field(default=120.0, gt=0)  # for a worker's views at start; 100,000 facts cost one about 2 s of a core
    replicas: int = Field(default=1, ge=1, le=5)  # of every stream
    tls_ca: Path | None = None  # PEM that the servers' certificates must chain to
    nats_cert: Path | None = None  # PEM of the embedded nats-server; with nats_key and tls_ca; required unless it listens on loopback
    nats_key: Path | None = None
    record_max_bytes: int = Field(default=8_589_934_592, ge=1_048_576)  # of RECORD; full means refusing, so `audit` alarms at 80 %
    drill_every_s: int = Field(default=900, ge=0)  # a revocation drill at every live point; 0: only when a revoker asks for one
    edge_host: str = "127.0.0.1"
    edge_port: int = Field(default=8443, ge=0, le=65535)
    edge_cert: Path | None = None  # PEM; with edge_key; required unless edge_host is loopback
    edge_key: Path | None = None
    edge_limits: EdgeLimits = EdgeLimits()  # of one address
    edge_proxies: Networks = ()  # addresses (CIDR) of proxies before the edge: X-Forwarded-For is believed from these, and from nobody else
    oauth_limits: OAuthLimits = OAuthLimits()  # of one client of the OAuth face
    oauth_dpop_nonce: bool = False  # DPoP proofs at the token endpoint hold a nonce of ours (RFC 9449 section 8); one more round trip
    edge_mtls: bool = False  # the edge asks for client certificates (RFC 8705); with edge_cert
    edge_client_ca: Path | None = None  # PEM of authorities whose client certificates it takes, with the intermediates that issue them
    edge_spiffe_ca: Path | None = None  # PEM of the trust domain's X.509 bundle: whose X.509-SVIDs it takes
    outbound_private: OutboundPrivate = OutboundPrivate()  # networks that are not global and may be called, by use
    outbound_ca: Path | None = None  # PEM of authorities trusted for outgoing HTTPS besides the machine's own
    ssf_issuer: str | None = None  # `iss` of the signals we send, and where their receivers find the API; none: `issuer`
    ssf_default_subjects: Literal["ALL", "NONE"] = "ALL"  # whom a new stream tells of before its receiver adds or removes anyone
    ssf_min_verification_interval_s: int = Field(default=5, ge=0, le=86_400)
    kek_file: Path | None = None  # the broker's key-encryption key, unless WEFT_BROKER_KEK holds it; keys/broker.kek otherwise
    egress_host: str = "127.0.0.1"
    egress_port: int = Field(default=8444, ge=0, le=65535)
    egress_cert: Path | None = None  # PEM; with egress_key; required unless egress_host is loopback
    egress_key: Path | None = None
    egress_url: str | None = None  # as agents reach it, where that is not host and port
    workload_api: Path | None = None  # the development issuer's socket

    @field_validator("outbound_private", mode="before")
    @classmethod
    def _by_use(cls, value: Any) -> Any:
        """One list was for every use; nobody is given all of them by a setting of before."""
        if isinstance(value, list | tuple):
            uses = ", ".join(OutboundPrivate.model_fields)
            raise ValueError(f'name the use of these networks, {{"upstreams": ["10.1.0.0/16"]}} say, of {uses}')  # noqa: TRY004 - pydantic's
        return value

    @model_validator(mode="after")
    def _no_plain_listener(self) -> Self:
        """What is not loopback speaks TLS: the bus towards its servers, the edge towards everyone (design section 2)."""
        for server in self.servers:
            url = urlsplit(server)
            if url.scheme not in {"nats", "tls"} or url.hostname is None:
                raise ValueError("servers: each is nats://host:port or tls://host:port")
            if url.scheme != "tls" and not loopback(url.hostname):
                raise ValueError("servers: tls:// unless the host is loopback")
        for name, cert, key in self._certificates:
            if (cert is None) != (key is None):
                raise ValueError(f"{name}_cert and {name}_key come together")
        base = urlsplit(self.ssf_base)
        if base.scheme != "https" or not base.hostname or base.query or base.fragment or "?" in self.ssf_base or "#" in self.ssf_base:
            raise ValueError("ssf_issuer: an https URL without query and fragment")
        for name, host, cert in (("edge", self.edge_host, self.edge_cert), ("egress", self.egress_host, self.egress_cert)):
            if cert is None and not loopback(host):
                raise ValueError(f"{name}_host: a certificate is required unless it is loopback")
        return self

    @model_validator(mode="after")
    def _mutual_tls(self) -> Self:
        """A setting that would do nothing is a mistake."""
        if self.edge_mtls and self.edge_cert is None:
            raise ValueError("edge_mtls: it takes a certificate of its own, edge_cert")
        if not self.edge_mtls and (self.edge_client_ca is not None or self.edge_spiffe_ca is not None):
            raise ValueError("edge_client_ca and edge_spiffe_ca come with edge_mtls")
        return self

    @property
    def ssf_base(self) -> str:
        """`iss` of the signals we send."""
        return self.issuer if self.ssf_issuer is None else self.ssf_issuer

    @property
    def _certificates(self) -> tuple[tuple[str, Path | None, Path | None], ...]:
        return (
            ("edge", self.edge_cert, self.edge_key),
            ("egress", self.egress_cert, self.egress_key),
            ("nats", self.nats_cert, self.nats_key),
        )

    @property
    def creds(self) -> Path:
        """Folder of `<worker>.creds`."""
        return self.state / "creds"

    @property
    def keys(self) -> Path:
        """Folder of private keys, 0700; each file 0600."""
        return self.state / "keys"

    @property
    def kek(self) -> Path:
        """File of the broker's key-encryption key."""
        return self.kek_file or self.keys / "broker.kek"

    @property
    def egress(self) -> str:
        """The egress as agents reach it: where endpoints of its tools begin."""
        scheme = "https" if self.egress_cert else "http"
        return (self.egress_url or f"{scheme}://{self.egress_host}:{self.egress_port}").rstrip("/")

    @property
    def egress_id(self) -> str:
        """The SPIFFE ID of the egress: the workload of the tools that it stands before."""
        return f"spiffe://{self.trust_domain}/weft/egress"


def load(state: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """`fabric.json` of the folder, overridden by the environment.  Raises SettingsError."""
    environ = os.environ if environ is None else environ
    try:
        values = json.loads((state / "fabric.json").read_bytes())
    except FileNotFoundError:
        raise SettingsError(f"no fabric in {state}: run `weft up --dir {state}` first") from None
    except ValueError as error:
        raise SettingsError(f"{state / 'fabric.json'} is not JSON") from error
    for name in Settings.model_fields:
        text = environ.get(f"WEFT_{name.upper()}")
        if text is not None:
            values[name] = text.split(",") if name == "servers" and text[:1] != "[" else from_text(text)
    return parse(state, values)


def from_text(text: str) -> Any:
    """A setting as typed: JSON where it is a list or an object, else as it stands.  Raises SettingsError."""
    try:
        return json.loads(text) if text[:1] in {"[", "{"} else text
    except ValueError:
        raise SettingsError("a setting that starts like JSON is not JSON") from None


def parse(state: Path, values: Mapping[str, Any]) -> Settings:
    """These values, as the settings of the fabric in that folder.  Raises SettingsError."""
    try:
        return Settings.model_validate({**values, "state": state})
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(found["loc"], found["msg"]) for found in error.errors(include_input=False))) from None


def _sentence(place: tuple[int | str, ...], what: str) -> str:
    """What is wrong, and where unless the text says so itself."""
    what = what.removeprefix("Value error, ")
    return f"{'.'.join(map(str, place))}: {what}" if place else what
