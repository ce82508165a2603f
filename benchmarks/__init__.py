"""Measuring and breaking the whole product, started as processes of its own."""
