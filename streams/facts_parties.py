"""Facts about who may ask and whose word is believed: people, issuers, clients, authorization servers; keys and credentials."""

from __future__ import annotations

from weft.digest import sha256

from schemas.facts import AuthorizationServer, Client, Credential, Key, KeyPurpose, Kind, Person, UserIssuer
from streams.facts_store import FactsStore


class PartyFacts(FactsStore):
    """Look-ups of a `FactsTable`."""

    def person(self, nkey: str) -> Person | None:
        """One operator, whatever their state."""
        return self._body(Kind.PERSON, nkey, Person)

    def issuer(self, iss: str) -> UserIssuer | None:
        """One issuer of user tokens."""
        return self._body(Kind.ISSUER, sha256(iss), UserIssuer)

    def issuers(self) -> tuple[UserIssuer, ...]:
        """All issuers of user tokens."""
        return self._bodies(Kind.ISSUER, UserIssuer)

    def client(self, client_id: str) -> Client | None:
        """One OAuth client, whatever its state."""
        return self._body(Kind.CLIENT, sha256(client_id), Client)

    def clients(self) -> tuple[Client, ...]:
        """All OAuth clients, whatever their state."""
        return self._bodies(Kind.CLIENT, Client)

    def authorization_server(self, name: str) -> AuthorizationServer | None:
        """One authorization server, whatever its state."""
        return self._body(Kind.AUTHORIZATION_SERVER, name, AuthorizationServer)

    def keys(self, purpose: KeyPurpose | None = None) -> tuple[Key, ...]:
        """Public keys in every state; the caller says which states count."""
        return tuple(key for key in self._bodies(Kind.KEY, Key) if purpose in (None, key.purpose))

    def credential(self, name: str) -> Credential | None:
        """What is known of a credential in the broker's vault."""
        return self._body(Kind.CREDENTIAL, name, Credential)

    def credentials(self) -> tuple[Credential, ...]:
        """All of them, by name."""
        return self._bodies(Kind.CREDENTIAL, Credential)
