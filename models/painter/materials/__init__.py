"""The material-aware painter: network, noise, flow, and the plan that fills blank areas."""
