"""What a comparison costs: samples, operations, storage."""
