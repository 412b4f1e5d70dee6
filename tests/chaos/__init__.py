"""A whole system under load while its processes are killed, frozen and cut off: `make chaos`."""
