"""The decision: pure, the same for gateway, broker, replay and what-if."""

from workers.common.decision.cedar import policy_digest
from workers.common.decision.draft import human_of
from workers.common.decision.engine import decide, with_lines
from workers.common.decision.tools import callable_tools

__all__ = ["callable_tools", "decide", "human_of", "policy_digest", "with_lines"]
