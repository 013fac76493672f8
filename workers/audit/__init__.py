"""Audit makes RECORD and FACTS answerable: it indexes, explains, replays, and computes decisions again.

It reads RECORD, FACTS and REVOCATIONS and writes an index of its own, which any replay rebuilds; it filters by the asker's namespaces.
It is never on the hot path, and it holds no key.
"""
