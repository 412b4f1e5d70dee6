"""Models: the only package that imports torch and transformers."""

import os

# OpenMP reads this when torch is loaded, so it stands here, before any module that imports it. By
# default its threads spin at every barrier; where something else wants a core too, each operation
# then waits for a whole time slice (measured: 21 pairs/s instead of 188 on two busy cores).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Read at torch's first large allocation: tensors of 2 MB and more in huge pages, where the system
# lends them on request. Each batch's states are new memory; without it the kernel spent 7 to 11 %
# of a MiniLM pass on handing out small pages, with it 2 to 4 %.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# What is compiled for each shape of a product is kept, and nearly every batch has rows of a number
# of its own: by default 1,024 shapes in a cache of each thread, torch's, and in one of all,
# oneDNN's, of 0.7 MB each on a processor with AVX-512. All layers of a pass share a handful.
os.environ.setdefault("LRU_CACHE_CAPACITY", "32")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
