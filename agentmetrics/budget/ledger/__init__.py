"""What every call cost, kept in a database, and questions to it."""
