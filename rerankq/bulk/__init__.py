"""Bulk: a file of queries and candidates in, a file of rankings out; all by reference.

spec      what a batch is to do, as the ledger keeps it
storage   bytes of any fsspec URL or local path: ranges in, whole objects out
unpacking compressed input, unpacked once so that it can be cut
chunks    an input cut into bounded ranges that never split a record
lines     the lines of such a range, and the runs of lines that make a record
index     where in a corpus a document lies
records   what a chunk is read into, and what becomes of it
formats   one module a format, each a reader and a writer
"""
