"""Flow records of a network, as a monitor such as Argus, Zeek or CICFlowMeter writes them, and images made of them."""
