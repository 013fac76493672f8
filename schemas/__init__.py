"""The contracts: one module per wire object, no I/O.  `docs/contracts/` is their export as JSON Schema."""
