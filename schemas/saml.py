"""What a provider that speaks SAML signs with: the `<ds:X509Certificate>` of its metadata (SAML V2.0 Metadata section 2.4.1.1).

The certificate is the container of a pinned key and no more (SAML V2.0 Metadata Interoperability Profile section 2.6.1): its names,
its authority and its `notAfter` say nothing here.  The fact says whom we trust, and for as long as it stands.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, StringConstraints

_ARMOUR = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----")  # RFC 7468 section 5.1


def _bare(text: object) -> object:
    """As metadata has it, and as `openssl` does: without line breaks and armour."""
    if not isinstance(text, str):
        return text
    for line in _ARMOUR:
        text = text.replace(line, "")
    return "".join(text.split())


SAMLCertificate = Annotated[
    str, BeforeValidator(_bare), StringConstraints(pattern=r"^[A-Za-z0-9+/]+={0,2}$", max_length=8192)
]  # base64 of DER
