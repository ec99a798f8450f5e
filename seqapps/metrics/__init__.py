"""How good a system is, as sums of each row: plain numpy, the same for networks and for baselines."""
