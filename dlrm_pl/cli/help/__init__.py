"""How ``--help`` is laid out."""
