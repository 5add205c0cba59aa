"""Tests of pipeline/export."""
