"""Who may have a file."""
