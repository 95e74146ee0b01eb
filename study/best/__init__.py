"""Best parameters of a study: written to a file, and used in another study."""
