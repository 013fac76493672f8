"""The registry: the writer of what people decide among FACTS; what workers find or hold themselves they write.  Design section 3.

It alone turns a person's command into facts: it checks the role, the change and what the change relies on, and commits a set of
changes as one atomic batch or not at all.  It tells guards what their tools are and whose signatures to believe, and the edge which
keys verify tokens.  It reads FACTS through a view, writes `weft.fact.>` and its own part of RECORD.  It must never sign a token, hold
a private key, or write a posture.
"""
