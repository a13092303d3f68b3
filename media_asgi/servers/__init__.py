"""Where bytes go: one response on one server."""
