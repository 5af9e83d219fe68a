"""Networks so small that weights and some rows' activations lie in the level-2 cache.

A batch is cut into shards of rows. One thread takes a shard forward and back through all layers,
tile by tile, and adds its gradients up in memory of the shard's own; then parts of the parameters
are updated by the sum of the shards. That is two phases for a step, however many layers there are.
Nothing is packed for a product: all that it reads lies in the cache, in rows of whole vectors.
"""
