"""Bytes of a local path or of any fsspec URL: ranges in, whole objects out, nothing half-written.

A path without a scheme is the machine's own and needs nothing but Python; everything else is
fsspec's (`rerankq[bulk]`).
"""
