"""Where bytes lie: files, objects of a store, members of tar shards, cells of Parquet files.

A place is text. An ordinary path is a file; `s3://bucket/key`, `gs://…` and `az://…` are objects;
`<file>.tar#name@start+size` is a member of a tar shard and `<file>.parquet#column[row]` a cell, of
a file or an object alike. `<file>.parquet#column[row]@start+size` says of a cell that is neither
compressed nor encoded where its bytes are.
"""
