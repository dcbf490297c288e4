"""How a model is attacked without harm: what every attack's loop shares."""
