"""Many photos on many machines: Ray Data reads, prepares and answers, each photo exactly once."""
