"""One benchmark a file. `foveal.bench.catalogue` lists them."""
