"""Password hashing."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class OneThreadArgon2(Argon2PasswordHasher):
    """Django's argon2id (100 MiB, two passes) on one thread; Django's default of eight would occupy all cores."""

    parallelism = 1
