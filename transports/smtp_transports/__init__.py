"""Transports for smtp_proto: how its octets move."""
