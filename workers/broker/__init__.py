"""The broker: validates again, and mints.  It alone holds the key that signs Transaction Tokens.

It believes the agent's signature and its own views, and of the gateway no more than that it asks for less than them.  A token leaves after
RECORD acknowledged the record of it.  It reads FACTS, REVOCATIONS and, for evidence and repeated requests, RECORD; it writes
`weft.record.broker.>`.  It must never be reached by an agent, and hands out no credential but the token it minted.
"""
