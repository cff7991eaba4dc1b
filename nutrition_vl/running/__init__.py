"""Runs commands: quick starts, threads, processes, prefetching, files that survive a kill."""
