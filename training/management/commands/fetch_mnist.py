"""`fetch_mnist`: download the MNIST files if they are missing."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from recognizer.mnist import MnistError, download_folder, fetch_mnist, find_mnist


class Command(BaseCommand):
    help = "Download the four MNIST files into the data directory, unless HDR_MNIST_DIR or the data directory has them."

    def handle(self, *args: Any, **options: Any) -> None:
        if found := find_mnist():
            self.stdout.write(f"MNIST is in {found}.")
            return
        try:
            for name in fetch_mnist(download_folder()):
                self.stdout.write(f"Downloaded {name}.")
        except MnistError as error:
            raise CommandError(str(error)) from error
