"""Trains packs on Ray or in this process, and records what they give."""
