"""The job store: everything durable about a job, and the only scripts that may touch it."""
