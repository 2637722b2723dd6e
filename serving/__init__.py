"""Asking a pushed model."""
