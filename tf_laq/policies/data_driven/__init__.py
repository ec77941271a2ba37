"""Policies that look at images: they measure the model first, and choose then."""
