"""HTTP as pure functions. They don't touch files, sockets or the clock."""
