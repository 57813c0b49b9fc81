"""MDS, the shard format of MosaicML Streaming: read into Arrow and written from Arrow, whole batches at a time.

A shard (all numbers little-endian)::

    u32  n                      number of samples
    u32  offset[n + 1]          where sample i begins, in bytes from the start of the file; the last is the file's size
    ...  config                 the writer's options as JSON; readers use index.json instead
    ...  sample 0 .. n - 1

A sample is a u32 size for every column of variable size, then the payloads; columns are sorted by name. Neither
reading nor writing loops over samples in Python: sizes and offsets are numpy arrays, payloads are moved by Arrow.
This package is the only place that knows the layout, and it needs neither streaming nor torch.
``shared_memory`` is for those who read with StreamingDataset instead.
"""
