"""Plans: which process has which part of each table, and the memory and the traffic that follow."""
