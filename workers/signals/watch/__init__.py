"""Watches RECORD for what no single call shows, and says so by signals of the fabric's own (`schemas.detections`).

`seen` reads events, `detect` decides (pure), `watcher` follows RECORD and has findings said by `voice`.  Every copy of the worker sees
everything and says the same under the same `jti`, which SIGNALS stores once.
"""
