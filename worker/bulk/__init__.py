"""Batches: files cut into chunks, chunks scored into parts, parts merged.

runner    takes a batch's entries and runs each on a thread of its own
planning  entry 0: cuts the input
scoring   a chunk: read, tokenize, score, write its part
flow      what of a chunk is with the coalescer
merging   the last entry: parts into the output
"""
