"""The two agents of the protocol, in plain async code: they run on any `simnet.Host`."""
