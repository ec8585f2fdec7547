"""The data sets that germline knows by name."""
