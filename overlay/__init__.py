"""What the overlay is and how to say it to the kernel: no loop, no thread, no argv, no etcd."""

__version__ = "0.1.0"
