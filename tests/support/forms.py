"""How a server may echo a secret: one function per form, text or bytes that hold it."""

from __future__ import annotations

import base64
import gzip
import html
import json
import zlib
from collections.abc import Callable
from urllib.parse import quote

import brotli

FORMS: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "upper": lambda text: text.upper().encode(),
    "url": lambda text: quote(text, safe="").encode(),
    "url-whole": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()).encode(),
    "url-twice": lambda text: quote("".join(f"%{byte:02X}" for byte in text.encode()), safe="").encode(),
    "json": lambda text: json.dumps(text)[1:-1].encode(),
    "json-json": lambda text: json.dumps(json.dumps(text))[3:-3].encode(),
    "json-escapes": lambda text: "".join(f"\\u{byte:04x}" for byte in text.encode()).encode(),
    "c-escapes": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()).encode(),
    "html": lambda text: html.escape(text).encode(),
    "html-decimal": lambda text: "".join(f"&#{byte};" for byte in text.encode()).encode(),
    "html-hex": lambda text: "".join(f"&#x{byte:02X};" for byte in text.encode()).encode(),
    "hex": lambda text: text.encode().hex().encode(),
    "hex-upper": lambda text: text.encode().hex().upper().encode(),
    "hex-colons": lambda text: text.encode().hex(":").encode(),
    "hex-spaces": lambda text: text.encode().hex(" ").encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64url": lambda text: base64.urlsafe_b64encode(text.encode()).rstrip(b"="),
    "base64-1": lambda text: base64.b64encode(b"user:" + text.encode() + b"!"),
    "base64-2": lambda text: base64.b64encode(b"user=" + text.encode() + b"!!"),
    "base64-3": lambda text: base64.b64encode(b"user--" + text.encode()),
    "base64-lines": lambda text: base64.encodebytes(b"x" * 50 + text.encode() * 2),
    "base64-url": lambda text: quote(base64.b64encode(text.encode()).decode(), safe="").encode(),
    "utf-16": lambda text: text.encode("utf-16-le"),
}
CODINGS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress}


def found(secret: str, data: bytes) -> list[str]:
    """The forms in which the secret stands in the data; whoever looks knows more ways than the scrubber was told."""
    raw = secret.encode()
    views = {
        "": data,
        "gzip": _undone(gzip.decompress, data),
        "zlib": _undone(zlib.decompress, data),
        "br": _undone(brotli.decompress, data),
    }
    core = {name: form(secret) for name, form in FORMS.items() if not name.startswith("base64")}
    core |= {f"base64-{n}": base64.b64encode(b"\0" * n + raw)[-(-8 * n // 6) : 8 * (n + len(raw)) // 6] for n in range(3)}
    core |= {f"base64url-{n}": base64.urlsafe_b64encode(b"\0" * n + raw)[-(-8 * n // 6) : 8 * (n + len(raw)) // 6] for n in range(3)}
    return [f"{name} {view}".strip() for view, seen in views.items() for name, form in core.items() if form.lower() in seen.lower()]


def _undone(undo: Callable[[bytes], bytes], data: bytes) -> bytes:
    try:
        return undo(data)
    except Exception:  # noqa: BLE001 - then it was not that
        return b""
