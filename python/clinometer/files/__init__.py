"""Bytes of files, local and remote: read with checked sizes, written whole or not at all."""
