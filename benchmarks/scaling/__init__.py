"""What `benchmarks.scale` is made of: a device that only takes time, load, meters, the report."""
