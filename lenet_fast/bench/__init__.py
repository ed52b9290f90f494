"""What ``lenet-fast bench`` measures: this machine, the whole network on it, and where time goes.

The benchmarks of the checkout use what is here, and add single operations and other libraries.
"""
