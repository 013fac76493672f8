"""What several workers share and no worker owns: the decision, the recorder, identity, the runtime."""
