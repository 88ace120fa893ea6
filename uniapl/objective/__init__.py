"""The UniAPL objective: loss terms, advantages and adversarial coefficients, as pure functions."""
