"""What the native engines take, and what other libraries make of it."""
