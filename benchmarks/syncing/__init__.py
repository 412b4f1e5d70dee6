"""What `benchmarks.sync` is made of: callers, probes of an event loop, what processes use."""
