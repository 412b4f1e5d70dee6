"""A model of a day of rerank work, the workers' pods, and what scales them."""
