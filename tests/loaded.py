# ruff: noqa: F401 - they are there to be loaded
"""What forks have loaded: nothing of this project, nor what reads a variable that may differ.

Celery and prometheus_client do that, and pyarrow has a thread that a fork would need.
"""

import accelerate.hooks
import fsspec
import httpx
import pydantic
import redis
import transformers.models.qwen3.modeling_qwen3
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

# Whatever it is asked for, it compiles the patterns of all models, in half a second.
get_checkpoint_conversion_mapping("qwen3")
