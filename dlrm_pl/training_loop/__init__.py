"""Training loop: epochs, and what is reported before and after them."""
