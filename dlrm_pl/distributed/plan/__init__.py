"""Sharding plans: which process holds which part of each table, and the resulting memory and traffic."""
