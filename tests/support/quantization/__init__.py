"""Searches, trials and reports made up, and what quantization is compared with."""
