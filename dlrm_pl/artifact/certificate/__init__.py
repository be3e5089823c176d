"""The certificate of an artifact: its contents, its verdict, and verifying it again."""
