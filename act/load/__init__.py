"""A trained policy on a robot: what it may see, what it predicts, how that is executed."""
