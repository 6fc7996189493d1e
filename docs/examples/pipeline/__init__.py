"""Example: run declared pipelines and stream their output to browsers."""
