"""Collaborative distillation: data, learning methods, agents, scenarios. Runs on any `simnet.Network`."""
