"""The same fold elsewhere: rows pushed batch by batch, shards, states as files."""
