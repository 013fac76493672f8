"""The broker: validates again, and mints.  It alone holds the keys that sign Transaction Tokens, and the vault of what tools really need.

It believes the agent's signature and its own views, and of the gateway no more than that it asks for less than them.  A token leaves
after RECORD acknowledged the record of it, and so does a credential: to the egress alone, for the one call whose token it shows, sealed
to a one-time key.  It reads FACTS, REVOCATIONS and, for evidence and repeated requests, RECORD; it writes `weft.record.broker.>`, claims
of its own on CLAIMS and facts of kind `credential`.  Services that are not on the bus ask it through the edge (`workers.broker.oauth`).
It must never be reached by an agent, and hands no agent anything but the token it minted.
"""
