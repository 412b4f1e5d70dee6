"""The Celery worker: takes work from the ledger, coalesces it into full batches, scores it."""
