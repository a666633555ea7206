"""Small tasks, networks and data that the library's tests train."""
