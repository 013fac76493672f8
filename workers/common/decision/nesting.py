"""How deep a policy goes, before Cedar reads it.  Pure.

Cedar's parser recurses: a text of some thousand brackets, or a chain of as many operators, runs out of stack, and that ends the process and
not the call.  Measured with cedarpy 4.12.2: from 700 brackets on; the limits are a tenth of that, and far above what anybody writes.
"""

from __future__ import annotations

import re

MAX_DEPTH = 64  # of brackets, braces and parentheses
MAX_CHAIN = 1000  # operators and members of one policy
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|[(\[{]|[)\]}]|;|&&|\|\||[-+*.!]|\bif\b', re.DOTALL)


def too_deep(text: str) -> bool:
    """Strings and comments aside."""
    depth = chain = 0
    for found in _WORD.finditer(text):
        word = found[0]
        if word in "([{":
            depth += 1
        elif word in ")]}":
            depth -= 1
        elif word == ";" and depth <= 0:
            depth = chain = 0
        elif word[0] not in '"/;':
            chain += 1
        if depth > MAX_DEPTH or chain > MAX_CHAIN:
            return True
    return False
