"""The flow lab: many steps against few, on diffusions and on flows, measured."""
