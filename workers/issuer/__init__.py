"""The development issuer: a SPIFFE Workload API for one machine, so that a fabric runs before there is SPIRE.

It alone signs JWT-SVIDs of a development trust domain, for processes that the kernel describes as the registered selectors do.  It
reads agents, tools and keys from FACTS and writes nothing.  It holds the `svid` key and no other, and refuses to run in a fabric that
is configured for production.  What its attestation is worth, and what not: docs/decisions/0002-instances-and-the-development-issuer.md.
"""
