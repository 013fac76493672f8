"""The gateway: enforcement point and resolver.  It alone answers agents.

It limits and authenticates every caller, decides over its own views, has its refusals recorded, asks the broker for what it allows, and
passes the answer on.  It reads FACTS and REVOCATIONS, and writes `weft.record.gateway.>`.  It must never hold a key or a credential: what
it says counts for nothing without the agent's signature, which the broker checks.
"""
