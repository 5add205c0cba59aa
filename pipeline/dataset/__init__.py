"""The dataset: splits that do not leak, and folders or shards that other tools read."""
