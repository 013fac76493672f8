"""Tokens that other authorization servers issue, obtained by the broker for one agent and one person at a time.

What is asked for is what a tool's record says, within what the server's fact allows, after a decision that is on RECORD.  An agent gets a
token only where Weft can take it back (RFC 7009, at a server whose resource servers heed it) and where it ends within the tool's limit;
what is kept for the next call is kept for the same agent and person alone, and revoked there as soon as a revocation hits the agent, the
person or a transaction that it served.  What lives lies sealed in the broker's own folder, so that the next broker can take it back;
RECORD holds its digest.
"""
