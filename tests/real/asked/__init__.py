"""A project with the middleware that real ones have, whose predicates use all of it."""
