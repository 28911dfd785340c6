"""The report's experiment: one network, trained on MNIST by several optimizers."""
