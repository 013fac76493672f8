"""The bus: its subjects, its streams, who may do what on it, and the one way to connect."""
