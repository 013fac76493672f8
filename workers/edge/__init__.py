"""The fabric's HTTP face, both ways: it listens for HTTP, over TLS, and makes the HTTP requests that workers of FABRIC ask it for.

It stands in the account EDGE, where it may ask what its faces have to ask (`workers.edge.faces`) and nothing else; it writes no
stream.  What it is asked to fetch goes to addresses that `workers.common.outbound` checked.  It must never hold a key but its TLS key,
and never answer from memory what the fabric did not say just now: silence is 503.
"""
