"""A server of the tiny model, called in this process or over a socket."""
