"""The warehouse: staging views and marts, built by dbt, each mart held to its contract."""
