"""The workers: each an independent NATS consumer with a narrow mandate.  They never import each other; they meet in subjects."""
