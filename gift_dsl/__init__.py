"""gift-dsl: one YAML file describes an experiment that trains a language model by playing games."""
