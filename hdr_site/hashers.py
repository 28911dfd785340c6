"""How passwords are hashed."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class OneThreadArgon2(Argon2PasswordHasher):
    """Django's argon2id (100 MiB, two passes) on one thread: eight, as Django has it, take all cores from everybody."""

    parallelism = 1
