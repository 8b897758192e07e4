"""Arithmetic of fully connected networks: knows no files, no settings, no input or output."""
