"""The fabric's HTTP face: health, readiness, and the public keys of its tokens, over TLS.

It alone listens for HTTP.  It stands in the account EDGE, where it may ask after the workers' health, ask for public keys and nothing
else; it writes no stream and sees no token, agent or record.  It must never hold a key but its TLS key, and never answer from memory
what the fabric did not say just now: silence is 503.
"""
