"""Readers that turn common layouts of data sets into samples."""
