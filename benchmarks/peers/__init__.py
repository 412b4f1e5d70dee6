"""Contenders that run as processes of their own, some in environments of their own."""
