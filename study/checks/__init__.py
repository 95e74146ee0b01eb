"""Contract tests for a problem or rule of the user's own."""
