"""Django's PostgreSQL backend with a circuit breaker for an unreachable database."""
