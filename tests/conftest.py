"""What pytest loads first for these tests."""

pytest_plugins = ["tests.fixtures"]
