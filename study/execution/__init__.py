"""Train packs on Ray or in this process, and record their outcomes."""
