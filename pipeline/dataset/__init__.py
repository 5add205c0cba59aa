"""The dataset: splits that do not leak, and folders that other tools read."""
