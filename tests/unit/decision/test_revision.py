"""A decision names the facts it read."""

from schemas.decision import Caller, DecisionInput
from streams.facts_table import FactsTable
from workers.common.decision import decide

DIGEST = "A" * 43


def test_a_refusal_names_the_revision_that_it_read():
    """INVARIANT: every decision, a refusal too, names the revision of the facts that it was made over.

    A decision that named another revision would be computed again over other facts, and `record verify` would blame the record.
    """
    facts = FactsTable()
    facts.apply(41, "weft.fact.tool.unreadable", b"not a fact")
    caller = Caller(
        id="spiffe://88mph.com/agents/nobody", instance="i" + "a" * 26, attested=True, assurance="production", jkt=DIGEST, svid_exp=2_000
    )
    asked = DecisionInput(
        request_id="r",
        request_digest=DIGEST,
        tool="web-search",
        actions=("search",),
        purpose="web.search",
        caller=caller,
        now=1_000,
        views_fresh=True,
        revocations=0,
    )
    decision = decide(asked, facts)
    assert decision.outcome == "deny"
    assert decision.facts_revision == facts.revision == 41
