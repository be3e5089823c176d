"""The training loop: epochs, and what is said before and after them."""
