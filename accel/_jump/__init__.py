"""The jump: from a full window to a proposal, a judgement and a report."""
