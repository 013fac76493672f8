"""The broker's OAuth side: token endpoint, introspection and revocation, for clients that are not on the bus.

The edge carries HTTP; everything that is judged is judged here, over the broker's own views, and every token leaves after RECORD
acknowledged it.  Reads FACTS and REVOCATIONS; writes RECORD and, for what counts once, CLAIMS; orders revocations.
"""
