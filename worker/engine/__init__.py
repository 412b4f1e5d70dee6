"""Models: the only package that imports torch and transformers."""

import os

# OpenMP reads this when torch is loaded, so it stands here, before any module that imports it. By
# default its threads spin at every barrier; where something else wants a core too, each operation
# then waits for a whole time slice (measured: 21 pairs/s instead of 188 on two busy cores).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
