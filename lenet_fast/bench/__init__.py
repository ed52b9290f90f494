"""Measuring: steps of LeNet-5, who may run them, whether they are right, and how long they take.

The benchmark suite of the checkout and ``lenet-fast bench`` are two front ends of what is here.
"""
