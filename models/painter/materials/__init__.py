"""The painter that sees materials: its network, noise, flow, and the plan for blank places."""
