"""Objects at addresses: datasets that are fetched, and runs that are mirrored."""
