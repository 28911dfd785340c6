"""Django's PostgreSQL backend, that asks a database which is away only now and then."""
