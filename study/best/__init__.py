"""The best parameters of a study as a file, and their use in another study."""
