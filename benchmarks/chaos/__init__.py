"""Parts are killed, frozen and robbed of their data while clients talk; then all that was noted is held together."""
