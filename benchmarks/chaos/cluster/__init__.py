"""The site on seven hosts of one machine, and what happens when their network cables are pulled."""
