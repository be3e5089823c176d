"""Safeguards that stop training: an unusable precision, too little memory, a diverged loss."""
