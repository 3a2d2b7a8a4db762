"""A run's policy in a simulator: rates of success with their intervals."""
