"""The least that could do the same: Temporal, one route and one HTTP call, without a product around them."""
