"""Running a comparison."""
