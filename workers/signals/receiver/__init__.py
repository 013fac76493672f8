"""The receiver of Shared Signals: our streams at transmitters of others.  SSF 1.0 section 8 from the receiver's side, RFC 8935, RFC 8936.

`transmitters` finds the keys that a transmitter signs with, `remote` speaks its management API, `keeper` holds our stream to what the
fact says, `poller` fetches, `pushed` checks what is brought.  What a SET says is judged by `workers.signals.verify` like any other, and it
is on SIGNALS before it is acknowledged.  HTTP is the edge's to make (`weft.edge.fetch`).

Nothing is kept here that the transmitter or the facts do not hold: a stream of ours is known by the URL we asked it to push to or by its
description, secrets of pushes and states of verifications follow from a key that every copy of this worker has.
"""
