"""How triggers are combined: children are stepped together, so that each is told of every round at the right sample."""
