"""Train packs of replicates. Needs only torch, numpy and `accel`."""
