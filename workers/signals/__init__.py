"""signals: what others tell the fabric, and what the fabric does about it.

It verifies Security Event Tokens and stores them on SIGNALS exactly as received before it acknowledges them, applies the response
policy within its sender's ceiling, and alone writes postures to FACTS.  Revokers' commands and points' own signals come in here too.
Orders that are no posture (tokens, transactions, keys) go to `revocation`.  Every response leaves a receipt signed by the signals
key, the only one it holds.  It never waits for a human: what goes beyond a ceiling is recorded as waiting for one, and left undone.
"""
