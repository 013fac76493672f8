"""The transmitter: what the fabric does, told to those who asked to hear it.  SSF 1.0, RFC 8417, RFC 8935, RFC 8936, CAEP 1.0.

`manage` decides what a receiver's request does to its stream; `mapping` which events an action of the fabric is; `wanted` who hears of
it; `sets` signs them.  Those are pure.  `store` keeps streams as facts, `queue` keeps SETs on OUTGOING until their receiver has them,
`push` and `poll` deliver, `api` answers receivers, `operators` answers operators, `telling` follows RECORD.

docs/decisions/0009-outgoing-signals.md says why queues are built as they are.
"""
