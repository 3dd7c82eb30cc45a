"""Formats of dumps, one file each, and the registry that tells them apart."""
