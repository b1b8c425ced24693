"""Keeping the overlay so: threads, retries, leases, signals, and what operators see of it."""
