"""XML Signature 1.1 as SAML core section 5.4 narrows it: wrapping, algorithms, transforms, and what never reaches the parser.

Read without HTTP: `verify_assertion` is what both types of subject token go through.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lxml import etree

from schemas.facts import UserIssuer
from tests.support import saml
from tests.support.identities import NOW
from tests.support.saml import DIGESTS, DS, ENVELOPED, EXCLUSIVE, IDP, MAKERS, MORE, PROVIDER, Provider, saml1, saml2, signature, signed
from workers.broker.oauth.saml.assertion import Assertion, Presenter, verify_assertion
from workers.broker.oauth.saml.signed import signed_by
from workers.common.credentials import IdentityRefused

HERE = Presenter(frozenset(["https://as.88mph.com"]), None)
EC = Provider(ec.generate_private_key(ec.SECP256R1()))


class Facts:
    """One provider."""

    def __init__(self, *providers: Provider) -> None:
        fact = PROVIDER.fact(saml_certificates=[provider.der for provider in providers or (PROVIDER,)])
        self._fact = UserIssuer.model_validate_json(json.dumps(fact))

    def issuer(self, iss: str) -> UserIssuer | None:
        return self._fact if iss == IDP else None


KNOWN, KNOWN_EC = Facts(), Facts(EC)


def read(xml: str | bytes, type_: str = "saml2", facts: Facts = KNOWN) -> Assertion:
    return verify_assertion(saml.token(xml), type_, facts, HERE, NOW)  # type: ignore[arg-type]


def refusal(xml: str | bytes, type_: str = "saml2", facts: Facts = KNOWN) -> str:
    with pytest.raises(IdentityRefused) as no:
        read(xml, type_, facts)
    return no.value.detail


# --- wrapping: a signature that holds, over an element that nobody reads ------------------------------------------------------------


def wrapped(type_: str, place: str, id_: str, signed_here: str) -> str:
    """A document whose root says biff, with the assertion of marty, as it was signed, at `place`.

    `signed_here`: the signature stands in the evil assertion, or stays in the good one.
    """
    make = MAKERS[type_]
    good = make()
    proof = signature(good)
    original = good if signed_here == "evil" else saml.with_signature(good, proof)
    proof = proof if signed_here == "evil" else ""
    evil = make(id=id_, name="biff")
    match place:
        case "object":
            return saml.with_signature(evil, proof.replace("</ds:Signature>", f"<ds:Object>{original}</ds:Object></ds:Signature>"))
        case "keyinfo":
            return saml.with_signature(evil, proof.replace("</ds:KeyInfo>", f"{original}</ds:KeyInfo>"))
        case "value":
            return saml.with_signature(evil, proof.replace("</ds:SignedInfo>", f"</ds:SignedInfo>{original}"))
        case "first" | "last" | "advice" | "attribute":
            inner = {
                "first": original,
                "last": original,
                "advice": f"<saml:Advice>{original}</saml:Advice>",
                "attribute": f"<saml:AttributeStatement><saml:Attribute><saml:AttributeValue>{original}</saml:AttributeValue>"
                "</saml:Attribute></saml:AttributeStatement>",
            }[place]
            host = saml.with_signature(evil, proof)
            return (
                re.sub(r"(<saml:Assertion[^>]*>)", lambda m: m[1] + inner, host, count=1) if place == "first" else _before_end(host, inner)
            )
        case "beside" | "before":
            both = [saml.with_signature(evil, proof), original]
            inner = "".join(reversed(both) if place == "before" else both)
            return f'<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol">{inner}</samlp:Response>'
        case _:
            raise AssertionError(place)


def _before_end(host: str, inner: str) -> str:
    return host.removesuffix("</saml:Assertion>") + inner + "</saml:Assertion>"


# the names of Somorovsky et al., "On Breaking SAML: Be Whoever You Want to Be" (USENIX Security 2012), for an assertion without a Response:
# 1, 2: the whole message copied, into an Object or beside it; 3 to 6: evil before, around, behind; 7: in an extension; 8: in an Object
ATTACKS = {
    "xsw1 in the signature's object": ("object", "_a1", "evil"),
    "xsw2 beside, the signature detached": ("beside", "_a2", "evil"),
    "xsw3 before it in a response": ("beside", "_a2", "good"),
    "xsw3 behind it in a response": ("before", "_a2", "good"),
    "xsw4 around it": ("last", "_a2", "good"),
    "xsw4 around it, with its ID": ("last", "_a1", "good"),
    "xsw5 with its signature, the original last": ("last", "_a2", "evil"),
    "xsw5 with its signature and its ID, the original last": ("last", "_a1", "evil"),
    "xsw6 with its signature, the original first": ("first", "_a2", "evil"),
    "xsw6 with its signature and its ID, the original first": ("first", "_a1", "evil"),
    "xsw7 in advice": ("advice", "_a2", "good"),
    "xsw7 in an attribute, with its ID": ("attribute", "_a1", "good"),
    "xsw8 in the object, with another ID": ("object", "_a2", "evil"),
    "in KeyInfo": ("keyinfo", "_a2", "evil"),
    "in KeyInfo, with its ID": ("keyinfo", "_a1", "evil"),
    "among what is signed of the signature": ("value", "_a2", "evil"),
}


@pytest.mark.parametrize("type_", MAKERS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_signature_wrapping(type_: str, attack: str) -> None:
    """INVARIANT: nobody is who an unsigned element says, wherever the signed one was put.

    Looking the signed element up by its ID, and reading the first Assertion of the document, is how it was done everywhere in 2012.
    """
    assert read(signed(MAKERS[type_]()), type_).name == "marty"
    words = "by itself" if ATTACKS[attack][0] in ("beside", "before") else "holds another one"
    assert words in refusal(wrapped(type_, *ATTACKS[attack]), type_)


@pytest.mark.parametrize("type_", MAKERS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_behind_the_first_rule_stands_another(type_: str, attack: str) -> None:
    """Verifies that with two assertions in a document nothing is read but what the signature covers."""
    root = etree.fromstring(wrapped(type_, *ATTACKS[attack]))
    for element in (root, *root.iter("{*}Assertion")):
        try:
            found = signed_by(etree.fromstring(etree.tostring(element)), [PROVIDER.der])
        except (IdentityRefused, KeyError):
            continue
        assert b"marty" in etree.tostring(found)
        assert b"biff" not in etree.tostring(found)


@pytest.mark.parametrize("type_", MAKERS)
def test_wrapping_below_another_name(type_: str) -> None:
    """Verifies that an element of another namespace, or of the other version, is no place to hide either."""
    good = signed(MAKERS[type_]())
    for hidden in (good, good.replace("saml:Assertion", "saml:Assertions"), good.replace("urn:oasis:names:tc:SAML", "urn:x")):
        evil = _before_end(MAKERS[type_](name="biff", id="_a1"), hidden)
        refusal(evil, type_)


@pytest.mark.parametrize("type_", MAKERS)
def test_what_is_read_is_what_was_signed(type_: str) -> None:
    """Verifies that two signatures, or one that is not the root's own, refuse, though each holds."""
    xml = MAKERS[type_]()
    proof = signature(xml)
    for broken in (
        saml.with_signature(signed(xml), proof),
        _before_end(xml, f"<saml:Advice>{proof}</saml:Advice>"),
        saml.with_signature(xml, signature(xml, references=2)),
        saml.with_signature(xml, signature(xml, uri="")),
        saml.with_signature(xml, signature(xml, uri="#_other")),
        saml.with_signature(xml, signature(xml, uri="#xpointer(id('_a1'))")),
        saml.with_signature(xml, signature(xml, uri="https://evil.example/_a1")),
        saml.with_signature(xml, signature(xml, more="<ds:Object></ds:Object>")),
        proof,
    ):
        refusal(broken, type_)


@pytest.mark.parametrize("id_", ["", "a b", "1a", "_a'", "ä", "a" * 257, None])
def test_ids_that_are_none(id_: str | None) -> None:
    assert "no ID" in refusal(saml.with_signature(saml2(id=id_), signature(saml2())))


# --- algorithms and transforms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hash_", ["sha256", "sha384", "sha512"])
def test_algorithms(hash_: str) -> None:
    digest = {"sha256": f"{DIGESTS}sha256", "sha384": f"{MORE}sha384", "sha512": f"{DIGESTS}sha512"}[hash_]
    assert read(signed(saml2(), method=f"{MORE}rsa-{hash_}", digest=digest)).name == "marty"
    assert read(signed(saml2(), method=f"http://www.w3.org/2007/05/xmldsig-more#{hash_}-rsa-MGF1", digest=digest)).name == "marty"
    assert read(signed(saml2(), EC, method=f"{MORE}ecdsa-{hash_}", digest=digest), facts=KNOWN_EC).name == "marty"


WEAK = {
    "rsa-sha1": {"method": f"{DS}rsa-sha1"},
    "digest sha1": {"digest": f"{DS}sha1"},
    "rsa-sha224": {"method": f"{MORE}rsa-sha224"},
    "digest sha224": {"digest": f"{MORE}sha224"},
    "sha1-rsa-MGF1": {"method": "http://www.w3.org/2007/05/xmldsig-more#sha1-rsa-MGF1"},
    "hmac with the certificate as its secret": {"method": f"{MORE}hmac-sha256"},
    "hmac-sha1": {"method": f"{DS}hmac-sha1"},
    "another key's algorithm": {"method": f"{MORE}ecdsa-sha256"},
    "inclusive c14n": {"canonical": "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"},
    "c14n 1.1": {"canonical": "http://www.w3.org/2006/12/xml-c14n11"},
    "c14n with comments": {"canonical": f"{EXCLUSIVE}WithComments"},
    "a transform with comments": {"transforms": (ENVELOPED, f"{EXCLUSIVE}WithComments")},
    "inclusive c14n of the element": {"transforms": (ENVELOPED, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315")},
    "no c14n of the element": {"transforms": (ENVELOPED,)},
    "not enveloped": {"transforms": (EXCLUSIVE,)},
    "the other way around": {"transforms": (EXCLUSIVE, ENVELOPED)},
    "xpath": {"transforms": (ENVELOPED, "http://www.w3.org/TR/1999/REC-xpath-19991116", EXCLUSIVE)},
    "xpath filter 2": {"transforms": (ENVELOPED, "http://www.w3.org/2002/06/xmldsig-filter2", EXCLUSIVE)},
    "xslt": {"transforms": (ENVELOPED, "http://www.w3.org/TR/1999/REC-xslt-19991116", EXCLUSIVE)},
    "base64": {"transforms": (ENVELOPED, f"{DS}base64", EXCLUSIVE)},
    "none": {"method": "none"},
}


@pytest.mark.parametrize("what", WEAK)
def test_algorithms_that_are_refused(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: algorithms are ours to choose: nothing below SHA-256, no secret, no transform that SAML does not name.

    Each document is signed so with the provider's own key, where that key can: a verifier that did what the signature says would agree.
    """
    how = WEAK[what]
    monkeypatch.setattr(Provider, "sign", _whatever)
    refusal(signed(saml2(), **how))  # type: ignore[arg-type]


_sign = Provider.sign


def _whatever(self: Provider, method: str, data: bytes) -> bytes:
    return _sign(self, method if method != "none" else saml.RSA_SHA256, data)


# --- what never reaches the parser --------------------------------------------------------------------------------------------------


BOMB = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))
DOCUMENTS = {
    "a doctype": "<!DOCTYPE a>{xml}",
    "a bomb": f'<!DOCTYPE a [<!ENTITY e0 "ha">{BOMB}]>{{xml}}',
    "a file": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>{xml}',
    "a dtd elsewhere": '<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x.dtd">{xml}',
    "a parameter entity": '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x"> %x;]>{xml}',
    "an id by dtd": "<!DOCTYPE a [<!ATTLIST saml:Assertion x ID #IMPLIED>]>{xml}",
    "a stylesheet": '<?xml-stylesheet href="x"?>{xml}',
    "two declarations": '<?xml version="1.0"?><?xml version="1.0"?>{xml}',
    "xinclude": '<a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="file:///etc/passwd"/>{xml}</a>',
    "two roots": "{xml}{xml}",
    "text around it": "x{xml}",
    "half of it": "{half}",
    "nothing": "",
}


@pytest.mark.parametrize("what", DOCUMENTS)
def test_documents_that_are_refused_before_they_are_read(what: str) -> None:
    xml = signed(saml2())
    text = DOCUMENTS[what].replace("{xml}", xml).replace("{half}", xml[: len(xml) // 2])
    started = time.process_time()
    for encoding in ("utf-8", "utf-16", "utf-32", "utf-7"):
        refusal(text.encode(encoding))
    assert time.process_time() - started < 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_no_encoding_hides_a_declaration(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [<!ENTITY x "marty">]>{signed(saml2())}'
    assert refusal(text.encode(encoding))
    assert refusal(text)


def test_a_declaration_and_a_byte_order_mark_are_taken() -> None:
    xml = signed(saml2())
    assert read(f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}').name == "marty"
    assert read(b"\xef\xbb\xbf" + xml.encode()).name == "marty"
    assert read(f'<?xml version="1.0" encoding="ISO-8859-1"?>{xml}').name == "marty", "it is read as UTF-8 whatever it says"


def test_deep_and_wide_documents_end() -> None:
    for text in ("<a>" * 3000 + "</a>" * 3000, "<a/>" * 3000, "<a " + " ".join(f'a{n}="1"' for n in range(1500)) + "/>", "&amp;" * 3000):
        started = time.process_time()
        refusal(f'<saml:Assertion xmlns:saml="{saml.SAML2}" ID="_a1">{text}</saml:Assertion>')
        assert time.process_time() - started < 1


@pytest.mark.parametrize("type_", MAKERS)
@pytest.mark.parametrize("put", ["mar<!---->ty", "marty<!-- -->.evil", "<![CDATA[marty]]>", "marty<?x?>", "<!-- x -->marty"])
def test_comments_do_not_cut_a_name(type_: str, put: str) -> None:
    """INVARIANT: a name is the whole name that was signed.

    c14n leaves comments out of what is signed, and many parsers' `text` ends at the first: `marty<!-- -->.evil` of somebody who may
    register as `marty.evil` was read as marty by six libraries in 2018 (VU#475445).
    """
    name = re.sub(r"<!--.*?-->|<\?x\?>", "", put).replace("<![CDATA[", "").replace("]]>", "")
    xml = signed(MAKERS[type_](name=name))
    assert read(xml, type_).name == name
    cut = xml.replace(f">{name}<", f">{put}<")
    assert cut != xml
    assert "a comment" in refusal(cut, type_)


# --- any change ---------------------------------------------------------------------------------------------------------------------


GOOD = {type_: signed(make(name_attributes=' Format="urn:x"')).encode() for type_, make in MAKERS.items()}
BYTES = st.one_of(
    st.binary(min_size=1, max_size=4),
    st.sampled_from([b"", b"<!---->", b"&#13;", b"\r\n", b" ", b"<a/>", b"marty", b"biff", b'"', b"&lt;"]),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(type_=st.sampled_from(sorted(GOOD)), where=st.floats(0, 1, exclude_max=True), length=st.integers(0, 3), put=BYTES)
@example(type_="saml2", where=0.0, length=0, put=b"\n")
def test_any_change_is_refused_or_changes_nothing(type_: str, where: float, length: int, put: bytes) -> None:
    """INVARIANT: whatever is changed in a signed assertion, it is refused, or says exactly what it said."""
    good = GOOD[type_]
    at = int(where * len(good))
    changed = good[:at] + put + good[at + length :]
    try:
        found = read(changed, type_)
    except IdentityRefused:
        return
    assert found == read(good, type_)


def test_the_two_versions_say_the_same() -> None:
    one, two = read(signed(saml1()), "saml1"), read(signed(saml2()))
    assert (one.name, one.exp, one.issuer, one.once) == (two.name, two.exp, two.issuer, two.once)


def test_an_assertion_of_keycloak() -> None:
    """As it stood in the Response of Keycloak 26.7.3, after a login started there: its XML, its canonicalization, its signature."""
    xml = (Path(__file__).parent / "vectors" / "saml2-keycloak-26.7.3.xml").read_text()
    iss, made = "http://127.0.0.1:18765/realms/weft", 1_795_516_018  # 2026-11-24T10:26:58Z
    der = re.search("<dsig:X509Certificate>(.+)</dsig:X509Certificate>", xml)[1]  # type: ignore[index]  # as its metadata has it
    fact = UserIssuer(iss=iss, aud=saml.FABRIC, saml_certificates=(der,))
    issuers = SimpleNamespace(issuer={iss: fact}.get)
    found = verify_assertion(saml.token(xml), "saml2", issuers, HERE, made + 5)
    assert (found.name, found.exp) == ("marty", made + 58)
    with pytest.raises(IdentityRefused, match="expired"):
        verify_assertion(saml.token(xml), "saml2", issuers, HERE, made + 58)


def test_a_broker_without_saml_does_not_carry_it() -> None:
    """Verifies that lxml and signxml, 45 ms and 8 MiB, come with the first assertion and not with the broker."""
    program = "import sys, workers.broker.app, workers.gateway.app; print(sorted({'lxml', 'signxml'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"
