"""What several processes do together, and what is killed in the middle."""
