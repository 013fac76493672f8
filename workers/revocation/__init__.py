"""revocation: turns causes into entries on REVOCATIONS, and follows each entry until every enforcement point has answered for it.

It alone writes REVOCATIONS and CLAIMS, and holds the revocation key.  Causes are postures committed to FACTS, orders of `signals` on
behalf of a revoker, and agents that complete their own transaction.  It answers enforcement points (acknowledge, claim, use) and puts
their word on RECORD under the name the server attested.  It never judges whether a cause was right, and never names in an entry
whom it hits: entries hold digests, names and reasons stand in RECORD.

Any number of copies run; one writes.  Which one is decided by the stream alone (docs/decisions/0007-revocation-writer.md).
"""
