"""Promise 5: after a point has acknowledged a revocation, no order of deliveries makes it accept what was revoked."""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st
from weft.claims import VerifiedToken
from weft.errors import InvalidRevocation
from weft.revocation import RevocationView
from weft.token import MAX_TTL_S, SKEW_S, verify_token

from tests.support.signed import ISSUER, NOW, TokenKey, Writer, claims

KEY = TokenKey()
BASE = verify_token(KEY.sign(claims()), {KEY.kid: KEY.public}, issuer=ISSUER, audiences=["88mph.com"], now=NOW)
USERS = ("marty", "biff")
BUDGET_S = 3
MAX_AGE_S = 900  # of a message in REVOCATIONS


@dataclass
class History:
    """What a stream held, as one or several writers committed it, and the tokens that were minted meanwhile."""

    writer: Writer = field(default_factory=Writer)
    messages: list[tuple[str, str, int]] = field(default_factory=list)  # kind, JWS, the last entry then
    entries: list[tuple[int, int, str]] = field(default_factory=list)  # number, time, who is hit
    tokens: list[VerifiedToken] = field(default_factory=list)
    now: int = NOW

    def commit_entry(self, user: str) -> None:
        self.messages.append(("entry", self.writer.entry(("user", user), at=self.now), self.writer.n))
        self.entries.append((self.writer.n, self.now, user))

    def commit_beacon(self) -> None:
        left = [n for n, at, _ in self.entries if at + MAX_AGE_S >= self.now]
        self.writer.floor = min(left, default=self.writer.n + 1)
        self.messages.append(("beacon", self.writer.beacon(self.now), self.writer.n))

    def mint(self, user: str) -> None:
        self.tokens.append(replace(BASE, sub=user, rev=self.writer.n, iat=self.now, exp=self.now + MAX_TTL_S))

    def hits(self, token: VerifiedToken, up_to: int) -> bool:
        return any(token.rev < n <= up_to and user == token.sub for n, _, user in self.entries)


@st.composite
def histories(draw):
    history = History()
    for _ in range(draw(st.integers(1, 10))):
        history.now += draw(st.sampled_from([0, 1, 1, 2, 100, 400]))
        history.mint(draw(st.sampled_from(USERS)))
        if draw(st.booleans()):
            history.commit_entry(draw(st.sampled_from(USERS)))
        if draw(st.integers(0, 3)) == 0:
            history.writer.epoch += 1  # another writer took over
        if draw(st.booleans()):
            history.commit_beacon()
    history.commit_beacon()
    return history


def deliver(view, kind, jws):
    try:
        (view.apply_entry if kind == "entry" else view.apply_beacon)(jws)
    except InvalidRevocation:
        return


def accepts(view, token, now):
    alive = token.iat - SKEW_S <= now <= token.exp + SKEW_S
    return alive and view.age(now) <= BUDGET_S and not view.behind(token) and view.revoked(token) is None


@given(histories(), st.data())
def test_no_order_of_deliveries_accepts_what_was_revoked(history, data):
    """INVARIANT: once an entry is applied, or a beacon that covers it was heard, no live token that it hits is accepted, in whatever
    order, however often, and with whatever losses anything is delivered.

    A beacon that refreshes a view it does not match, a late entry that replaces a higher number, pruning while a token lives, or a
    floor that is believed without the entry that stands on it would break it.
    """
    view = RevocationView({history.writer.kid: history.writer.public}.get)
    heard = 0
    for kind, jws, n in data.draw(st.lists(st.sampled_from(history.messages), max_size=25)):
        deliver(view, kind, jws)
        heard = max(heard, n if kind == "beacon" else 0, view.counter)
        for token in history.tokens:
            for now in {history.now, token.iat, token.exp, view.reached_at, view.reached_at + BUDGET_S}:
                assert not (accepts(view, token, now) and history.hits(token, heard))


@given(histories(), st.data())
def test_every_order_without_losses_ends_the_same(history, data):
    """INVARIANT: the view is a function of what was committed, not of how it arrived.

    An early entry that is dropped, a duplicate that counts twice, or an honest order that is taken for equivocation would break it.
    """
    ordered, shuffled = (RevocationView({history.writer.kid: history.writer.public}.get) for _ in range(2))
    for kind, jws, _ in history.messages:
        deliver(ordered, kind, jws)
    again = data.draw(st.lists(st.sampled_from(history.messages), max_size=5))
    for kind, jws, _ in data.draw(st.permutations(history.messages + again)):
        deliver(shuffled, kind, jws)
    assert ordered.poisoned is None
    assert shuffled.poisoned is None
    assert (shuffled.counter, shuffled.age(history.now)) == (ordered.counter, ordered.age(history.now)) == (history.writer.n, 0)
    for token in history.tokens:
        assert accepts(shuffled, token, history.now) == accepts(ordered, token, history.now)
