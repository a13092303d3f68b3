"""HTTP, without input or output: no file, no socket, no clock."""
