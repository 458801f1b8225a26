"""What pytest loads first for the tests of plugins: the fixtures and services of all tests."""

pytest_plugins = ["tests.fixtures"]
