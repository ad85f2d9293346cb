"""Tests of the scenes and of the shipped model."""
