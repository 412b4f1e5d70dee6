"""What a developer runs: set up, start, show, check."""
