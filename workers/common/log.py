"""Log event names, past tense.  Values are keywords: identifiers, never objects, and never a token, key or payload."""

WORKER_STARTED = "worker_started"
WORKER_STOPPED = "worker_stopped"
